// SPDX-License-Identifier: Apache-2.0
// layer/embedding.hpp for lanes.
#pragma once

#include "row.hpp"

namespace gpt::kernel {

// A tile is a token: x (B, T, C) = token_embedding[token] + position_embedding[position]
struct embed {
  float* x;
  std::uint8_t const* tokens;
  float const *token_embedding, *position_embedding;  // (V, C), (T, C)
  int context, width;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    std::size_t const c = static_cast<std::size_t>(width);
    float const* const token = token_embedding + tokens[i] * c;
    float const* const position = position_embedding + i % static_cast<std::size_t>(context) * c;
    for_columns(l, width, [&](int k) { x[i * c + k] = token[k] + position[k]; });
  }
};

// A tile is a row of a gradient: first the V tokens, then the T positions. Each row collects its own
// contributions in the order of the batch.
// Adding from the batch to the tokens' rows would need atomics, and the order would change in every run.
struct embed_backward {
  float *token_gradient, *position_gradient;  // (V, C), (T, C)
  float const* dx;                            // (B, T, C)
  std::uint8_t const* tokens;
  std::size_t n;  // B T
  int vocabulary, context, width;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t row) const {
    std::size_t const v = static_cast<std::size_t>(vocabulary), t = static_cast<std::size_t>(context);
    if (row < v) {
      for (std::size_t i = 0; i < n; ++i) {
        if (tokens[i] == row) add(l, token_gradient, row, i);
      }
    } else {
      for (std::size_t i = row - v; i < n; i += t) add(l, position_gradient, row - v, i);
    }
  }

 private:
  template <lanes L>
  DILOCO_HD void add(L l, float* gradient, std::size_t row, std::size_t i) const {
    std::size_t const c = static_cast<std::size_t>(width);
    for_columns(l, width, [&](int k) { gradient[row * c + k] += dx[i * c + k]; });
  }
};

}  // namespace gpt::kernel
