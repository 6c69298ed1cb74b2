// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "learner.hpp"

#include <diloco/executor/cuda.cuh>

namespace gpt {

// Of a device_learner: its trainer's sweeps go after its kernels on the same stream.
diloco::cuda_stream stream_of(learner& learner);

}  // namespace gpt
