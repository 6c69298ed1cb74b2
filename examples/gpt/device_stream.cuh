// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "learner.hpp"

#include <diloco/executor/cuda.cuh>

namespace gpt {

// The stream of a device_learner. Its trainer's sweeps run after its kernels on that stream.
diloco::cuda_stream stream_of(learner& learner);

}  // namespace gpt
