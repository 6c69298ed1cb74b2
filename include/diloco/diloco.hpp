// SPDX-License-Identifier: Apache-2.0
#pragma once

// Everything that needs no optional dependency. MPI, OpenMP, oneTBB and CUDA have headers of their own:
// transport/mpi.hpp, executor/omp.hpp, executor/tbb.hpp, executor/cuda.cuh; so has Eigen,
// linear_algebra/eigen.hpp, and what reads and writes files, state/safetensors.hpp: a second of compile time.

#include <diloco/combine/precision_weighted.hpp>
#include <diloco/combine/robust.hpp>
#include <diloco/combine/weighted_mean.hpp>
#include <diloco/compressor/absmax.hpp>
#include <diloco/compressor/dct_top_k.hpp>
#include <diloco/compressor/dynamic8.hpp>
#include <diloco/compressor/f32.hpp>
#include <diloco/compressor/fp4.hpp>
#include <diloco/compressor/fp8.hpp>
#include <diloco/compressor/hadamard.hpp>
#include <diloco/compressor/half.hpp>
#include <diloco/compressor/lloyd_max.hpp>
#include <diloco/compressor/low_rank.hpp>
#include <diloco/compressor/min_max.hpp>
#include <diloco/compressor/mx.hpp>
#include <diloco/compressor/natural.hpp>
#include <diloco/compressor/qsgd.hpp>
#include <diloco/compressor/random_k.hpp>
#include <diloco/compressor/scaled_f16.hpp>
#include <diloco/compressor/sign.hpp>
#include <diloco/compressor/statistical.hpp>
#include <diloco/compressor/top_k.hpp>
#include <diloco/executor/host.hpp>
#include <diloco/feedback/averaged_error.hpp>
#include <diloco/feedback/ef21.hpp>
#include <diloco/feedback/error_feedback.hpp>
#include <diloco/optimizer/adafactor.hpp>
#include <diloco/optimizer/adam.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/adamw8bit.hpp>
#include <diloco/optimizer/bmuf.hpp>
#include <diloco/optimizer/delayed_nesterov.hpp>
#include <diloco/optimizer/external.hpp>
#include <diloco/optimizer/fedopt.hpp>
#include <diloco/optimizer/groups.hpp>
#include <diloco/optimizer/heavy_ball.hpp>
#include <diloco/optimizer/ivon.hpp>
#include <diloco/optimizer/lion.hpp>
#include <diloco/optimizer/lookahead.hpp>
#include <diloco/optimizer/muon.hpp>
#include <diloco/optimizer/nesterov.hpp>
#include <diloco/optimizer/noloco.hpp>
#include <diloco/optimizer/none.hpp>
#include <diloco/optimizer/schedule_free_adamw.hpp>
#include <diloco/optimizer/scheduled.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/optimizer/signum.hpp>
#include <diloco/optimizer/slowmo.hpp>
#include <diloco/optimizer/soap.hpp>
#include <diloco/probe/chain.hpp>
#include <diloco/probe/counters.hpp>
#include <diloco/probe/jsonl.hpp>
#include <diloco/probe/silent.hpp>
#include <diloco/rate/constant_rate.hpp>
#include <diloco/rate/inverse_square_root.hpp>
#include <diloco/rate/loss_scale.hpp>
#include <diloco/rate/warmup_cosine.hpp>
#include <diloco/rate/warmup_stable_decay.hpp>
#include <diloco/recipe.hpp>
#include <diloco/schedule/eager.hpp>
#include <diloco/schedule/every.hpp>
#include <diloco/schedule/streaming.hpp>
#include <diloco/signal/gradient.hpp>
#include <diloco/trainer.hpp>
#include <diloco/transport/alone.hpp>
#include <diloco/transport/threads.hpp>
#include <diloco/transport/with/counted.hpp>

#if !DILOCO_HEADER_ONLY
// The compiled core has them.
namespace diloco {
inline namespace DILOCO_NAMESPACE {
extern template class backend_on<cpp>;
extern template class exchange_over<alone, cpp>;
extern template class exchange_over<threads, cpp>;
extern template class transport_link_over<alone, cpp>;
extern template class transport_link_over<threads, cpp>;
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
#endif
