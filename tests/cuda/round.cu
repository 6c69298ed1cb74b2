// SPDX-License-Identifier: Apache-2.0
// One compressor of each kind with its feedback, and some optimizers. The files next to this one hold the
// rest.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("the device gives the host's bits and bytes: one of each kind", W,
                          compressor_bits) {
  check_compressor<W>();
}
using few_a_lane = qsgd<8, 64>;
TEST_CASE_TEMPLATE_INVOKE(compressor_bits, with<f32>, with<absmax<4>, averaged_error>,
                          with<absmax<8, 96>, ef21>, with<min_max<4>, ef21>, with<sign<>>, with<e2m1<>>,
                          with<nvfp4>, with<few_a_lane>, with<top_k<64>>,
                          with<random_k<64>, mean_error_feedback>, with<low_rank<2>>);

TEST_CASE_TEMPLATE_DEFINE("optimizers in both roles", O, optimizer_bits) { check_optimizer<O>(); }
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, adamw, sgd, lion);

}  // namespace
