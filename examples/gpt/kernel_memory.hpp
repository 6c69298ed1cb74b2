// SPDX-License-Identifier: Apache-2.0
// Memory layout of a model made of kernels: pointers into the executor's memory.
#pragma once

#include "shape.hpp"

#include <diloco/concepts/executor.hpp>
#include <diloco/state/layout.hpp>

#include <algorithm>
#include <span>
#include <vector>

namespace gpt {

// Linear layer: its weight (out, in) and bias. Norm: its gain and bias (C). Embeddings: both tables.
struct layer_memory {
  float *weight, *bias, *weight_gradient, *bias_gradient;
};
struct block_layers {
  layer_memory norm1, qkv, mix, norm2, up, down;
};
struct norm_activations {
  float *unit, *inverse_deviation;  // (N, C), (N)
};
struct block_activations_memory {
  norm_activations norm1, norm2;
  float *norm1_out, *qkv, *probabilities;             // (N, C), (N, 3C), (B, NH, T, T)
  float *attention_out, *norm2_out, *slope, *up_out;  // (N, C), (N, C), (N, 4C), (N, 4C)
};

// All weights in one allocation and their gradients in another. Each tensor begins at a cache line.
template <class Executor>
class layers_memory {
 public:
  layers_memory(Executor const& where, std::vector<diloco::tensor> const& start, int depth) : shapes_(start) {
    for (auto const& t : start) {
      offsets_.push_back(elements_);
      elements_ += (t.size() + 15) / 16 * 16;
    }
    weights_ = where.allocate(elements_ * sizeof(float));
    gradients_ = where.allocate(elements_ * sizeof(float));
    embedding = layer(0);
    for (std::size_t b = 0, at = 2; b < static_cast<std::size_t>(depth); ++b, at += 12)
      blocks.push_back(
          {layer(at), layer(at + 2), layer(at + 4), layer(at + 6), layer(at + 8), layer(at + 10)});
    last_norm = layer(start.size() - 2);
  }

  float* weights() const { return weights_.as<float>(); }
  float* gradients() const { return gradients_.as<float>(); }
  std::size_t elements() const { return elements_; }

  std::vector<diloco::tensor> tensors() const {
    std::vector<diloco::tensor> all;
    for (std::size_t r = 0; r < shapes_.size(); ++r)
      all.push_back({shapes_[r].name, shapes_[r].shape, weights() + offsets_[r]});
    return all;
  }
  std::vector<std::span<float const>> gradient_spans() const {
    std::vector<std::span<float const>> all;
    for (std::size_t r = 0; r < shapes_.size(); ++r)
      all.emplace_back(gradients() + offsets_[r], shapes_[r].size());
    return all;
  }
  // Copies between the host's tensors and one array of all weights.
  void gather(float* piece, std::vector<diloco::tensor> const& from) const {
    for (std::size_t r = 0; r < from.size(); ++r)
      std::copy_n(from[r].data, from[r].size(), piece + offsets_[r]);
  }
  void scatter(std::vector<diloco::tensor> const& to, float const* piece) const {
    for (std::size_t r = 0; r < to.size(); ++r) std::copy_n(piece + offsets_[r], to[r].size(), to[r].data);
  }

  layer_memory embedding;
  std::vector<block_layers> blocks;
  layer_memory last_norm;

 private:
  layer_memory layer(std::size_t r) const {
    return {weights() + offsets_[r], weights() + offsets_[r + 1], gradients() + offsets_[r],
            gradients() + offsets_[r + 1]};
  }
  std::vector<diloco::tensor> shapes_;
  std::vector<std::size_t> offsets_;
  std::size_t elements_ = 0;
  diloco::buffer weights_, gradients_;
};

template <class Executor>
class activations_memory {
 public:
  activations_memory(Executor const& where, model_shape const& s, int batch) {
    auto const take = [&](std::size_t elements) {
      memory_.push_back(where.allocate(elements * sizeof(float)));
      return memory_.back().as<float>();
    };
    std::size_t const t = static_cast<std::size_t>(s.context), n = static_cast<std::size_t>(batch) * t;
    std::size_t const c = static_cast<std::size_t>(s.width),
                      pairs = n * t * static_cast<std::size_t>(s.heads);
    auto const norm = [&] { return norm_activations{take(n * c), take(n)}; };
    for (int b = 0; b < s.layers; ++b) {
      blocks.push_back({norm(), norm(), take(n * c), take(n * 3 * c), take(pairs), take(n * c), take(n * c),
                        take(n * 4 * c), take(n * 4 * c)});
    }
    last_norm = norm();
    residual = take(n * c);
    norm_out = take(n * c);
    probabilities = take(n * model_shape::vocabulary);
    narrow = take(n * c);
    wide = take(n * 4 * c);
    scores = take(pairs);
    losses = take(n);
    ones = take(n);
  }

  std::vector<block_activations_memory> blocks;
  norm_activations last_norm;
  float *residual, *norm_out;  // (N, C): the residual stream forward, its gradient backward; and its norm
  float* probabilities;        // (N, V), then their gradient
  float *narrow, *wide;        // (N, C), (N, 4C): gradients inside one block
  float* scores;               // (B, NH, T, T): a gradient
  float *losses, *ones;        // (N)

 private:
  std::vector<diloco::buffer> memory_;
};

}  // namespace gpt
