// SPDX-License-Identifier: Apache-2.0
// A byte-level GPT: embeddings, L blocks of (norm, attention, norm, two-layer perceptron) around a residual
// stream, a last norm, and the token embedding again as output layer. The default shape has 834,304
// parameters.
#pragma once

#include "parameters.hpp"

#include <cstdint>
#include <memory>
#include <span>

namespace gpt {

template <class Real>
struct activations;  // what forward keeps for backward

template <class Real>
class model {
 public:
  // Allocates room for batches of up to batch * shape.context bytes. forward and backward allocate nothing.
  model(model_shape const& shape, int batch, std::uint64_t seed);
  ~model();
  model(model&&) noexcept;
  model& operator=(model&&) noexcept;

  // tokens, targets: (B, T), T <= context. Returns the sum over all bytes of the loss in nats.
  double forward(std::span<std::uint8_t const> tokens, std::span<std::uint8_t const> targets, int context);

  // Adds the gradient of weight * forward(...) to gradients(). Call it once after each forward.
  void backward(std::span<std::uint8_t const> tokens, std::span<std::uint8_t const> targets, int context,
                Real weight);
  void clear_gradients();

  // tokens: (T). Returns the V probabilities of the next byte, valid until the next call.
  std::span<Real const> predict(std::span<std::uint8_t const> tokens);

  parameter_set<Real>& parameters() { return parameters_; }
  model_shape const& shape() const { return shape_; }
  std::size_t size() const { return size_; }

 private:
  void forward_block(int layer, int batch, int context);
  void backward_block(int layer, int batch, int context);
  void forward_logits(std::span<std::uint8_t const> tokens, int context);

  model_shape shape_;
  std::size_t size_ = 0;
  parameter_set<Real> parameters_;
  std::unique_ptr<activations<Real>> memory_;
};

}  // namespace gpt
