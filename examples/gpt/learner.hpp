// SPDX-License-Identifier: Apache-2.0
// A model where it computes: on the host (host_learner.hpp), or in the memory of a device
// (kernel_learner.hpp). What diloco needs to know of it are its tensors and their gradients; the loop in
// train.cpp needs the rest.
#pragma once

#include "data.hpp"
#include "shape.hpp"

#include <diloco/state/layout.hpp>

#include <memory>
#include <span>
#include <vector>

namespace gpt {

class learner {
 public:
  virtual ~learner() = default;
  virtual model_shape const& shape() const = 0;
  virtual std::vector<diloco::tensor> tensors() = 0;  // names, shapes, and pointers to where it computes
  virtual std::vector<std::span<float const>> gradients() = 0;
  virtual void copy_to(
      std::vector<diloco::tensor> const& host) = 0;  // the same tensors in the host's memory; waits

  // These enqueue where there is a queue. tokens, targets: (B, T).
  virtual void clear_gradients() = 0;
  virtual void learn(chunk tokens, chunk targets,
                     double weight) = 0;  // adds the gradient of weight * mean loss
  virtual void validate(chunk tokens, chunk targets) = 0;

  // These wait for what was enqueued.
  virtual void wait() = 0;
  virtual double
  take_training_loss() = 0;  // weight * mean loss, summed over the batches since it was last taken
  virtual double take_validation_loss() = 0;                 // summed over all bytes since it was last taken
  virtual std::span<float const> predict(chunk tokens) = 0;  // the V probabilities of what comes next

  // What gradients must be multiplied with to be no longer than `most`; 1 where the recipe clips.
  virtual float gradient_scale(double most) = 0;
  // A clock of this worker's own work.
  virtual double work_seconds() = 0;
};

}  // namespace gpt
