// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"
#include "device_stream.cuh"
#include "trainers.hpp"

namespace gpt {

std::unique_ptr<trainer> device_trainer(options const& o, method how, learner& learner,
                                        any_transport transport) {
  placement<diloco::cuda_stream> const where{stream_of(learner), o.clip};
  if (how == method::data_parallel) return data_parallel_trainer(o, where, std::move(transport), learner);
  if (how == method::diloco) return diloco_trainer(o, where, std::move(transport), learner);
  auto never =
      diloco_recipe(o, where).with_inner(warm_up_adamw(o)).with_schedule(diloco::every(o.warm_up_steps + 1));
  return build(std::move(never), std::move(transport), learner);
}

}  // namespace gpt
