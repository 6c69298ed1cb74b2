// SPDX-License-Identifier: Apache-2.0
// The program's interface to a GPU. device.cu and device_trainers.cu implement it, or no_device.cpp in a
// build without CUDA.
#pragma once

#include "any_transport.hpp"
#include "endpoint.hpp"

namespace gpt {

// Throws bad_input with an explanation if nothing can run on a device.
void need_device();

// A model in device memory with its own stream and cuBLAS handle. The device is `worker` modulo the number of
// devices. This thread uses that device from now on.
std::unique_ptr<learner> device_learner(model_shape const& shape, int batch,
                                        std::vector<diloco::tensor> const& start, int worker);

// Collective. `learner` must be a device_learner and outlive the trainer, which works on its stream.
std::unique_ptr<trainer> device_trainer(options const& o, method how, learner& learner,
                                        any_transport transport);

}  // namespace gpt
