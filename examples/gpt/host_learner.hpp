// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "clock.hpp"
#include "learner.hpp"
#include "tensors.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gpt {

class host_learner final : public learner {
 public:
  host_learner(model_shape const& shape, int batch, model<float>& start) : model_(shape, batch, 0) {
    model_.parameters() = start.parameters();
    gradients_ = gradients_of(model_);
  }

  model_shape const& shape() const override { return model_.shape(); }
  std::vector<diloco::tensor> tensors() override { return tensors_of(model_); }
  std::vector<std::span<float const>> gradients() override { return gradients_; }
  void copy_to(std::vector<diloco::tensor> const& host) override {
    auto to = host.begin();
    model_.parameters().for_each(
        [&](parameter<float> const& p) { std::copy(p.value.begin(), p.value.end(), (to++)->data); });
  }

  void clear_gradients() override { model_.clear_gradients(); }
  void learn(chunk tokens, chunk targets, double weight) override {
    double const loss = model_.forward(tokens, targets, shape().context),
                 count = static_cast<double>(tokens.size());
    model_.backward(tokens, targets, shape().context, static_cast<float>(weight / count));
    training_loss_ += weight * loss / count;
  }
  void validate(chunk tokens, chunk targets) override {
    validation_loss_ += model_.forward(tokens, targets, shape().context);
  }

  void wait() override {}
  double take_training_loss() override { return std::exchange(training_loss_, 0.0); }
  double take_validation_loss() override { return std::exchange(validation_loss_, 0.0); }
  std::span<float const> predict(chunk tokens) override { return model_.predict(tokens); }

  float gradient_scale(double most) override {
    double sum = 0;
    for (auto const& g : gradients_)
      sum += static_cast<double>(const_row_view<float>(g.data(), std::ssize(g)).square().sum());
    double const length = std::sqrt(sum);
    return static_cast<float>(length > most ? most / length : 1.0);
  }
  // Time of this thread, so workers that share a core do not count the time they wait for it.
  double work_seconds() override { return processor_seconds(); }

 private:
  model<float> model_;
  std::vector<std::span<float const>> gradients_;
  double training_loss_ = 0, validation_loss_ = 0;
};

}  // namespace gpt
