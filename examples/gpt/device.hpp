// SPDX-License-Identifier: Apache-2.0
// What the program knows of a GPU. Behind it are device.cu and device_trainers.cu, or no_device.cpp in a
// build without CUDA.
#pragma once

#include "any_transport.hpp"
#include "endpoint.hpp"

namespace gpt {

// Throws bad_input, in a sentence, where nothing can run on a device.
void need_device();

// A model in the memory of device `worker` modulo their number, which this thread uses from now on, with a
// stream and a cuBLAS handle of its own.
std::unique_ptr<learner> device_learner(model_shape const& shape, int batch,
                                        std::vector<diloco::tensor> const& start, int worker);

// Collective. The learner is a device_learner and outlives the trainer, which works on its stream.
std::unique_ptr<trainer> device_trainer(options const& o, method how, learner& learner,
                                        any_transport transport);

}  // namespace gpt
