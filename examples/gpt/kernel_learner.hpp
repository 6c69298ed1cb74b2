// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "clock.hpp"
#include "kernel_model.hpp"
#include "learner.hpp"

#include <cstring>

namespace gpt {

template <diloco::executor Executor, class Products>
class kernel_learner : public learner {
 public:
  kernel_learner(Executor where, Products products, model_shape const& shape, int batch,
                 std::vector<diloco::tensor> const& start)
      : where_(where),
        model_(where, products, shape, batch, start),
        capacity_(2 * static_cast<std::size_t>(batch) * static_cast<std::size_t>(shape.context)),
        batches_(where.allocate_wire(slots * capacity_)),
        bytes_(where.allocate(capacity_)),
        totals_(where.allocate(2 * sizeof(double))),
        answers_(where.allocate_wire(model_shape::vocabulary * sizeof(float))) {
    auto const& layers = model_.layers();
    diloco::buffer const staging = where_.allocate_wire(layers.elements() * sizeof(float));
    layers.gather(staging.as<float>(), start);
    move(layers.weights(), staging.as<float>(), layers.elements());
    where_.wait();
  }

  Executor const& executor() const { return where_; }
  model_shape const& shape() const override { return model_.shape(); }
  std::vector<diloco::tensor> tensors() override { return model_.layers().tensors(); }
  std::vector<std::span<float const>> gradients() override { return model_.layers().gradient_spans(); }
  void copy_to(std::vector<diloco::tensor> const& host) override {
    auto const& layers = model_.layers();
    diloco::buffer const staging = where_.allocate_wire(layers.elements() * sizeof(float));
    move(staging.as<float>(), layers.weights(), layers.elements());
    where_.wait();
    layers.scatter(host, staging.as<float>());
  }

  void clear_gradients() override { model_.clear_gradients(); }
  void learn(chunk tokens, chunk targets, double weight) override {
    double const share = weight / static_cast<double>(tokens.size());
    forward(tokens, targets, 0, share);
    int const n = static_cast<int>(tokens.size());
    model_.backward(device_tokens(), device_tokens() + n, n / shape().context, shape().context,
                    static_cast<float>(share));
  }
  void validate(chunk tokens, chunk targets) override { forward(tokens, targets, 1, 1.0); }

  void wait() override { where_.wait(); }
  double take_training_loss() override { return take(0); }
  double take_validation_loss() override { return take(1); }
  std::span<float const> predict(chunk tokens) override {
    int const n = static_cast<int>(tokens.size()), v = model_shape::vocabulary;
    upload(tokens, tokens);
    float* const last = model_.logits(device_tokens(), 1, n) + std::ptrdiff_t(n - 1) * v;
    where_.for_each(1, kernel::cross_entropy{last, nullptr, nullptr, v});  // only its softmax is needed
    float* const answer = answers_.as<float>();
    move(answer, last, static_cast<std::size_t>(v));
    where_.wait();
    return {answer, static_cast<std::size_t>(v)};
  }

  float gradient_scale(double) override { return 1.0f; }  // the trainer clips, as its recipe says
  double work_seconds() override { return wall_seconds(); }

 private:
  // Batches in flight. A single shared buffer could be overwritten while the previous batch is still read.
  // With this many, one wait in 64 batches is enough.
  static constexpr std::size_t slots = 64;

  template <class T>
  void move(T* to, T const* from, std::size_t elements) {
    where_.for_each(kernel::tiles_of(elements), kernel::copy<T>{to, from, elements});
  }
  std::uint8_t* device_tokens() const { return bytes_.as<std::uint8_t>(); }  // (N), then the targets (N)

  void upload(chunk tokens, chunk targets) {
    if (slot_ == slots) where_.wait();
    slot_ %= slots;
    auto* const wire = batches_.as<std::uint8_t>() + slot_++ * capacity_;
    std::memcpy(wire, tokens.data(), tokens.size());
    std::memcpy(wire + tokens.size(), targets.data(), targets.size());
    move(device_tokens(), wire, tokens.size() + targets.size());
  }
  void forward(chunk tokens, chunk targets, int which, double factor) {
    int const n = static_cast<int>(tokens.size());
    upload(tokens, targets);
    model_.logits(device_tokens(), n / shape().context, shape().context);
    model_.measure(device_tokens() + n, n);
    where_.for_each(1, kernel::add_losses{totals_.as<double>() + which, model_.losses(),
                                          static_cast<std::size_t>(n), factor});
  }
  double take(int which) {
    auto* const answer = answers_.as<double>();
    where_.for_each(1, kernel::take_total{totals_.as<double>() + which, answer});
    where_.wait();
    return *answer;
  }

  Executor where_;
  kernel_model<Executor, Products> model_;
  std::size_t capacity_, slot_ = 0;
  diloco::buffer batches_, bytes_, totals_, answers_;
};

}  // namespace gpt
