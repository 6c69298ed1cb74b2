// SPDX-License-Identifier: Apache-2.0
// A model and its memory: on the host (host_learner.hpp) or on a device (kernel_learner.hpp). diloco needs
// its tensors and their gradients; the loop in train.cpp needs the rest.
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
  // names, shapes, and pointers to the memory of the model
  virtual std::vector<diloco::tensor> tensors() = 0;
  virtual std::vector<std::span<float const>> gradients() = 0;
  virtual void copy_to(
      std::vector<diloco::tensor> const& host) = 0;  // the same tensors in host memory; waits

  // These enqueue if there is a queue. tokens, targets: (B, T).
  virtual void clear_gradients() = 0;
  virtual void learn(chunk tokens, chunk targets,
                     double weight) = 0;  // adds the gradient of weight * mean loss
  virtual void validate(chunk tokens, chunk targets) = 0;

  // These wait for everything that was enqueued.
  virtual void wait() = 0;
  virtual double take_training_loss() = 0;  // weight * mean loss, summed over the batches since the last call
  virtual double take_validation_loss() = 0;                 // summed over all bytes since the last call
  virtual std::span<float const> predict(chunk tokens) = 0;  // the V probabilities of the next byte

  // The factor that limits the norm of the gradients to `most`. 1 if the recipe clips.
  virtual float gradient_scale(double most) = 0;
  // A clock of this worker's own work.
  virtual double work_seconds() = 0;
};

}  // namespace gpt
