// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include "layer/attention.hpp"
#include "layer/cross_entropy.hpp"
#include "layer/embedding.hpp"
#include "layer/gelu.hpp"
#include "layer/linear.hpp"
#include "layer/norm.hpp"
#include "random.hpp"

#include <algorithm>

namespace gpt {

namespace {

template <class Real>
void fill_normal(parameter<Real>& p, double deviation, random_stream& random) {
  for (Real& x : p.value) x = static_cast<Real>(deviation * random.normal());
}

template <class Real>
void fill(parameter<Real>& p, Real value) {
  p.value.assign(p.value.size(), value);
}

std::size_t extent(int n) { return static_cast<std::size_t>(n); }

}  // namespace

template <class Real>
parameter_set<Real>::parameter_set(model_shape const& shape, std::uint64_t seed)
    : token_embedding("token_embedding", {extent(model_shape::vocabulary), extent(shape.width)}),
      position_embedding("position_embedding", {extent(shape.context), extent(shape.width)}),
      norm_gain("norm.gain", {extent(shape.width)}),
      norm_bias("norm.bias", {extent(shape.width)}) {
  random_stream random(seed, 0x696e6974);  // "init": different from the streams that draw batches and samples
  double const deviation = 0.02, residual_deviation = deviation / std::sqrt(2.0 * shape.layers);
  fill_normal(token_embedding, deviation, random);
  fill_normal(position_embedding, deviation, random);
  for (int layer = 0; layer < shape.layers; ++layer) {
    auto& block = blocks.emplace_back("block" + std::to_string(layer) + ".", extent(shape.width));
    fill(block.norm1_gain, Real(1));
    fill(block.norm2_gain, Real(1));
    fill_normal(block.qkv_weight, deviation, random);
    fill_normal(block.mix_weight, residual_deviation, random);
    fill_normal(block.up_weight, deviation, random);
    fill_normal(block.down_weight, residual_deviation, random);
  }
  fill(norm_gain, Real(1));
}

template <class Real>
struct block_activations {
  block_activations(std::size_t n, std::size_t c, std::size_t scores)
      : norm1(n, c),
        norm2(n, c),
        norm1_out(n * c),
        qkv(n * 3 * c),
        probabilities(scores),
        attention_out(n * c),
        norm2_out(n * c),
        up_slope(n * 4 * c),
        up_out(n * 4 * c) {}

  norm_memory<Real> norm1, norm2;
  array<Real> norm1_out;      // (B, T, C)
  array<Real> qkv;            // (B, T, 3C)
  array<Real> probabilities;  // (B, NH, T, T)
  array<Real> attention_out;  // (B, T, C)
  array<Real> norm2_out;      // (B, T, C)
  array<Real> up_slope;       // (B, T, 4C)
  array<Real> up_out;         // (B, T, 4C)
};

template <class Real>
struct activations {
  activations(model_shape const& shape, int batch) {
    std::size_t const n = extent(batch) * extent(shape.context), c = extent(shape.width);
    blocks.reserve(extent(shape.layers));
    for (int i = 0; i < shape.layers; ++i)
      blocks.emplace_back(n, c, n * extent(shape.heads) * extent(shape.context));
    residual.resize(n * c);
    norm_out.resize(n * c);
    probabilities.resize(n * extent(model_shape::vocabulary));
    narrow.resize(n * c);
    wide.resize(n * 4 * c);
    scores.resize(extent(attention_rows) * extent(shape.context));
    norm = norm_memory<Real>(n, c);
  }

  std::vector<block_activations<Real>> blocks;
  array<Real> residual;       // (B, T, C): the residual stream forward, its gradient backward
  array<Real> norm_out;       // (B, T, C)
  array<Real> probabilities;  // (B, T, V), then their gradient
  array<Real> narrow, wide;   // (B, T, C), (B, T, 4C): gradients inside one block
  array<Real> scores;         // (attention_rows, T)
  norm_memory<Real> norm{0, 0};
};

template <class Real>
model<Real>::model(model_shape const& shape, int batch, std::uint64_t seed)
    : shape_(shape), parameters_(shape, seed), memory_(std::make_unique<activations<Real>>(shape, batch)) {
  parameters_.for_each([&](parameter<Real> const& p) { size_ += p.value.size(); });
}

template <class Real>
model<Real>::~model() = default;
template <class Real>
model<Real>::model(model&&) noexcept = default;
template <class Real>
model<Real>& model<Real>::operator=(model&&) noexcept = default;

template <class Real>
void model<Real>::forward_block(int layer, int batch, int context) {
  auto& p = parameters_.blocks[extent(layer)];
  auto& a = memory_->blocks[extent(layer)];
  Real* const residual = memory_->residual.data();
  int const n = batch * context;
  norm(a.norm1_out.data(), residual, p.norm1_gain, p.norm1_bias, a.norm1, n);
  linear(a.qkv.data(), a.norm1_out.data(), p.qkv_weight, p.qkv_bias, n);
  attention(a.attention_out.data(), a.probabilities.data(), a.qkv.data(),
            {batch, context, shape_.heads, shape_.width});
  linear_add(residual, a.attention_out.data(), p.mix_weight, p.mix_bias, n);
  norm(a.norm2_out.data(), residual, p.norm2_gain, p.norm2_bias, a.norm2, n);
  linear(a.up_slope.data(), a.norm2_out.data(), p.up_weight, p.up_bias, n);
  gelu(a.up_out.data(), a.up_slope.data(), std::ptrdiff_t(n) * 4 * shape_.width);
  linear_add(residual, a.up_out.data(), p.down_weight, p.down_bias, n);
}

template <class Real>
void model<Real>::backward_block(int layer, int batch, int context) {
  auto& p = parameters_.blocks[extent(layer)];
  auto& a = memory_->blocks[extent(layer)];
  Real *const residual = memory_->residual.data(), *const narrow = memory_->narrow.data(),
              *const wide = memory_->wide.data();
  int const n = batch * context;
  linear_backward(wide, residual, a.up_out.data(), p.down_weight, p.down_bias, n);
  gelu_backward(wide, a.up_slope.data(), std::ptrdiff_t(n) * 4 * shape_.width);
  linear_backward(narrow, wide, a.norm2_out.data(), p.up_weight, p.up_bias, n);
  norm_backward(residual, narrow, p.norm2_gain, p.norm2_bias, a.norm2, n);
  linear_backward(narrow, residual, a.attention_out.data(), p.mix_weight, p.mix_bias, n);
  attention_backward(wide, narrow, a.qkv.data(), a.probabilities.data(), memory_->scores.data(),
                     {batch, context, shape_.heads, shape_.width});
  linear_backward(narrow, wide, a.norm1_out.data(), p.qkv_weight, p.qkv_bias, n);
  norm_backward(residual, narrow, p.norm1_gain, p.norm1_bias, a.norm1, n);
}

template <class Real>
void model<Real>::forward_logits(std::span<std::uint8_t const> tokens, int context) {
  int const n = static_cast<int>(tokens.size());
  embed(memory_->residual.data(), tokens, parameters_.token_embedding, parameters_.position_embedding,
        context);
  for (int layer = 0; layer < shape_.layers; ++layer) forward_block(layer, n / context, context);
  norm(memory_->norm_out.data(), memory_->residual.data(), parameters_.norm_gain, parameters_.norm_bias,
       memory_->norm, n);
  const_view<Real> const embedding(parameters_.token_embedding.value.data(), model_shape::vocabulary,
                                   shape_.width);
  view<Real>(memory_->probabilities.data(), n, model_shape::vocabulary).noalias() =
      const_view<Real>(memory_->norm_out.data(), n, shape_.width) * embedding.transpose();
}

template <class Real>
double model<Real>::forward(std::span<std::uint8_t const> tokens, std::span<std::uint8_t const> targets,
                            int context) {
  forward_logits(tokens, context);
  return cross_entropy(memory_->probabilities.data(), targets, model_shape::vocabulary);
}

template <class Real>
void model<Real>::backward(std::span<std::uint8_t const> tokens, std::span<std::uint8_t const> targets,
                           int context, Real weight) {
  int const n = static_cast<int>(tokens.size()), c = shape_.width, v = model_shape::vocabulary;
  auto& embedding = parameters_.token_embedding;
  cross_entropy_backward(memory_->probabilities.data(), targets, v, weight);
  const_view<Real> const logits_gradient(memory_->probabilities.data(), n, v);
  view<Real>(memory_->narrow.data(), n, c).noalias() =
      logits_gradient * view<Real>(embedding.value.data(), v, c);
  view<Real>(embedding.gradient.data(), v, c).noalias() +=
      logits_gradient.transpose() * view<Real>(memory_->norm_out.data(), n, c);
  std::fill_n(memory_->residual.begin(), std::ptrdiff_t(n) * c, Real(0));
  norm_backward(memory_->residual.data(), memory_->narrow.data(), parameters_.norm_gain,
                parameters_.norm_bias, memory_->norm, n);
  for (int layer = shape_.layers; layer-- > 0;) backward_block(layer, n / context, context);
  embed_backward(memory_->residual.data(), tokens, embedding, parameters_.position_embedding, context);
}

template <class Real>
void model<Real>::clear_gradients() {
  parameters_.for_each([](parameter<Real>& p) { std::fill(p.gradient.begin(), p.gradient.end(), Real(0)); });
}

template <class Real>
std::span<Real const> model<Real>::predict(std::span<std::uint8_t const> tokens) {
  int const length = static_cast<int>(tokens.size()), v = model_shape::vocabulary;
  forward_logits(tokens, length);
  Real* const last = memory_->probabilities.data() + std::ptrdiff_t(length - 1) * v;
  std::uint8_t const any = 0;
  cross_entropy(last, std::span(&any, 1), v);  // only its softmax is needed
  return {last, extent(v)};
}

template class model<float>;
template class model<double>;  // for the gradient check

}  // namespace gpt
