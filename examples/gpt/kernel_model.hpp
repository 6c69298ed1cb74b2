// SPDX-License-Identifier: Apache-2.0
// The model of model.cpp, as kernels on an executor and matrix products of a library. It enqueues and never
// waits.
// The host's layers are faster on the host, because Eigen fuses and vectorizes what are separate kernels
// here. Tests compare the two.
#pragma once

#include "kernel/attention.hpp"
#include "kernel/cross_entropy.hpp"
#include "kernel/embedding.hpp"
#include "kernel/norm.hpp"
#include "kernel/perceptron.hpp"
#include "kernel_memory.hpp"
#include "products.hpp"

namespace gpt {

template <diloco::executor Executor, class Products>
class kernel_model {
 public:
  // Allocates room for batches of up to batch * shape.context bytes. forward and backward allocate nothing.
  kernel_model(Executor where, Products products, model_shape const& shape, int batch,
               std::vector<diloco::tensor> const& start)
      : where_(where),
        products_(products),
        shape_(shape),
        layers_(where, start, shape.layers),
        memory_(where, shape, batch) {
    fill(memory_.ones, 1.0f, static_cast<std::size_t>(batch) * static_cast<std::size_t>(shape.context));
  }

  model_shape const& shape() const { return shape_; }
  layers_memory<Executor> const& layers() const { return layers_; }
  float* losses() const { return memory_.losses; }

  // tokens (B, T) lie in the memory of the executor's columns. Computes and returns the logits (N, V).
  float* logits(std::uint8_t const* tokens, int batch, int context);
  // logits become probabilities, and losses() (N) is written.
  void measure(std::uint8_t const* targets, int n) {
    each(n, kernel::cross_entropy{memory_.probabilities, memory_.losses, targets, model_shape::vocabulary});
  }
  // Adds the gradient of weight * (sum of the losses). Call it once after each measure().
  void backward(std::uint8_t const* tokens, std::uint8_t const* targets, int batch, int context,
                float weight);
  void clear_gradients() { fill(layers_.gradients(), 0.0f, layers_.elements()); }

 private:
  template <class Kernel>
  void each(int rows, Kernel const& kernel) {
    where_.for_each(static_cast<std::size_t>(rows), kernel);
  }
  void fill(float* to, float value, std::size_t elements) {
    where_.for_each(kernel::tiles_of(elements), kernel::fill{to, value, elements});
  }
  void norm(float* y, float const* x, layer_memory const& p, norm_activations const& a, int n) {
    each(n, kernel::norm{y, a.unit, a.inverse_deviation, x, p.weight, p.bias, shape_.width});
  }
  void norm_backward(float* dx, float const* dy, layer_memory const& p, norm_activations const& a, int n) {
    each(n, kernel::norm_backward{dx, a.unit, dy, p.weight, a.inverse_deviation, shape_.width});
    add_columns(p.weight_gradient, a.unit, n, shape_.width);
    add_columns(p.bias_gradient, dy, n, shape_.width);
  }
  // to (columns) += the sum of the rows of x (n, columns). This is a product with a row of ones, which a
  // library computes fast.
  void add_columns(float* to, float const* x, int n, int columns) {
    products_.multiply(where_, {1, columns, n, {memory_.ones, n}, {x, columns}, {to, columns}, true});
  }
  // y (N, out) = x (N, in) W' + b, or += where y is the residual stream.
  void linear(float* y, float const* x, layer_memory const& p, int n, int in, int out, bool add = false) {
    each(n, kernel::begin_with_bias{y, p.bias, out, add});
    products_.multiply(where_, {n, out, in, {x, in}, {p.weight, in, true}, {y, out}, true});
  }
  void linear_backward(float* dx, float const* dy, float const* x, layer_memory const& p, int n, int in,
                       int out) {
    products_.multiply(where_, {n, in, out, {dy, out}, {p.weight, in}, {dx, in}});
    products_.multiply(where_, {out, in, n, {dy, out, true}, {x, in}, {p.weight_gradient, in}, true});
    add_columns(p.bias_gradient, dy, n, out);
  }
  void attention(block_activations_memory const& a, int batch, int context);
  void attention_backward(float* dqkv, float const* dout, block_activations_memory const& a, int batch,
                          int context);
  void forward_block(block_layers const& p, block_activations_memory const& a, int batch, int context);
  void backward_block(block_layers const& p, block_activations_memory const& a, int batch, int context);

  Executor where_;
  Products products_;
  model_shape shape_;
  layers_memory<Executor> layers_;
  activations_memory<Executor> memory_;
};

// Processes one head after another. Each is a batch over the sequences. The heads of one sequence are C / NH
// apart, the sequences T rows.
template <diloco::executor Executor, class Products>
void kernel_model<Executor, Products>::attention(block_activations_memory const& a, int batch, int context) {
  int const t = context, c = shape_.width, d = c / shape_.heads, nh = shape_.heads;
  std::ptrdiff_t const line = 3 * c, apart = line * t, square = std::ptrdiff_t(t) * t;
  for (int h = 0; h < nh; ++h) {
    float const* const q = a.qkv + h * d;
    products_.multiply(where_, {t,
                                t,
                                d,
                                {q, line, false, apart},
                                {q + c, line, true, apart},
                                {a.probabilities + h * square, t, nh * square},
                                false,
                                batch});
  }
  each(batch * nh * t, kernel::causal_softmax{a.probabilities, t, 1.0f / std::sqrt(static_cast<float>(d))});
  for (int h = 0; h < nh; ++h) {
    products_.multiply(where_, {t,
                                d,
                                t,
                                {a.probabilities + h * square, t, false, nh * square},
                                {a.qkv + 2 * c + h * d, line, false, apart},
                                {a.attention_out + h * d, c, std::ptrdiff_t(t) * c},
                                false,
                                batch});
  }
}

template <diloco::executor Executor, class Products>
void kernel_model<Executor, Products>::attention_backward(float* dqkv, float const* dout,
                                                          block_activations_memory const& a, int batch,
                                                          int context) {
  int const t = context, c = shape_.width, d = c / shape_.heads, nh = shape_.heads;
  std::ptrdiff_t const line = 3 * c, apart = line * t, square = std::ptrdiff_t(t) * t,
                       out_apart = std::ptrdiff_t(t) * c;
  auto const output = [&](int h) { return factor{dout + h * d, c, false, out_apart}; };
  auto const input = [&](int part, int h, bool transposed) {
    return factor{a.qkv + part * c + h * d, line, transposed, apart};
  };
  auto const gradient = [&](int part, int h) { return target{dqkv + part * c + h * d, line, apart}; };
  auto const scores = [&](float const* of, int h, bool transposed) {
    return factor{of + h * square, t, transposed, nh * square};
  };
  for (int h = 0; h < nh; ++h) {
    products_.multiply(
        where_,
        {t, t, d, output(h), input(2, h, true), {memory_.scores + h * square, t, nh * square}, false, batch});
    products_.multiply(where_,
                       {t, d, t, scores(a.probabilities, h, true), output(h), gradient(2, h), false, batch});
  }
  each(batch * nh * t, kernel::causal_softmax_backward{memory_.scores, a.probabilities, t,
                                                       1.0f / std::sqrt(static_cast<float>(d))});
  for (int h = 0; h < nh; ++h) {
    products_.multiply(where_, {t, d, t, scores(memory_.scores, h, false), input(1, h, false), gradient(0, h),
                                false, batch});
    products_.multiply(
        where_, {t, d, t, scores(memory_.scores, h, true), input(0, h, false), gradient(1, h), false, batch});
  }
}

template <diloco::executor Executor, class Products>
void kernel_model<Executor, Products>::forward_block(block_layers const& p, block_activations_memory const& a,
                                                     int batch, int context) {
  int const n = batch * context, c = shape_.width;
  float* const residual = memory_.residual;
  std::size_t const wide = static_cast<std::size_t>(n) * 4 * static_cast<std::size_t>(c);
  norm(a.norm1_out, residual, p.norm1, a.norm1, n);
  linear(a.qkv, a.norm1_out, p.qkv, n, c, 3 * c);
  attention(a, batch, context);
  linear(residual, a.attention_out, p.mix, n, c, c, true);
  norm(a.norm2_out, residual, p.norm2, a.norm2, n);
  linear(a.slope, a.norm2_out, p.up, n, c, 4 * c);
  where_.for_each(kernel::tiles_of(wide), kernel::gelu{a.up_out, a.slope, wide});
  linear(residual, a.up_out, p.down, n, 4 * c, c, true);
}

template <diloco::executor Executor, class Products>
void kernel_model<Executor, Products>::backward_block(block_layers const& p,
                                                      block_activations_memory const& a, int batch,
                                                      int context) {
  int const n = batch * context, c = shape_.width;
  float *const residual = memory_.residual, *const narrow = memory_.narrow, *const wide = memory_.wide;
  std::size_t const elements = static_cast<std::size_t>(n) * 4 * static_cast<std::size_t>(c);
  linear_backward(wide, residual, a.up_out, p.down, n, 4 * c, c);
  where_.for_each(kernel::tiles_of(elements), kernel::gelu_backward{wide, a.slope, elements});
  linear_backward(narrow, wide, a.norm2_out, p.up, n, c, 4 * c);
  norm_backward(residual, narrow, p.norm2, a.norm2, n);
  linear_backward(narrow, residual, a.attention_out, p.mix, n, c, c);
  attention_backward(wide, narrow, a, batch, context);
  linear_backward(narrow, wide, a.norm1_out, p.qkv, n, c, 3 * c);
  norm_backward(residual, narrow, p.norm1, a.norm1, n);
}

template <diloco::executor Executor, class Products>
float* kernel_model<Executor, Products>::logits(std::uint8_t const* tokens, int batch, int context) {
  int const n = batch * context, c = shape_.width, v = model_shape::vocabulary;
  layer_memory const& e = layers_.embedding;
  each(n, kernel::embed{memory_.residual, tokens, e.weight, e.bias, context, c});
  for (std::size_t b = 0; b < layers_.blocks.size(); ++b)
    forward_block(layers_.blocks[b], memory_.blocks[b], batch, context);
  norm(memory_.norm_out, memory_.residual, layers_.last_norm, memory_.last_norm, n);
  products_.multiply(where_,
                     {n, v, c, {memory_.norm_out, c}, {e.weight, c, true}, {memory_.probabilities, v}});
  return memory_.probabilities;
}

template <diloco::executor Executor, class Products>
void kernel_model<Executor, Products>::backward(std::uint8_t const* tokens, std::uint8_t const* targets,
                                                int batch, int context, float weight) {
  int const n = batch * context, c = shape_.width, v = model_shape::vocabulary;
  layer_memory const& e = layers_.embedding;
  float* const logits = memory_.probabilities;
  each(n, kernel::cross_entropy_backward{logits, targets, v, weight});
  products_.multiply(where_, {n, c, v, {logits, v}, {e.weight, c}, {memory_.narrow, c}});
  products_.multiply(where_,
                     {v, c, n, {logits, v, true}, {memory_.norm_out, c}, {e.weight_gradient, c}, true});
  fill(memory_.residual, 0.0f, static_cast<std::size_t>(n) * static_cast<std::size_t>(c));
  norm_backward(memory_.residual, memory_.narrow, layers_.last_norm, memory_.last_norm, n);
  for (std::size_t b = layers_.blocks.size(); b-- > 0;)
    backward_block(layers_.blocks[b], memory_.blocks[b], batch, context);
  each(v + context, kernel::embed_backward{e.weight_gradient, e.bias_gradient, memory_.residual, tokens,
                                           static_cast<std::size_t>(n), v, context, c});
}

}  // namespace gpt
