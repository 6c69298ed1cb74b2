// SPDX-License-Identifier: Apache-2.0
// The part of layer/attention.hpp between its matrix products, for lanes. A tile is a row of the scores (B,
// NH, T, T).
#pragma once

#include "row.hpp"

namespace gpt::kernel {

// Softmax of scale times the scores that the row may see. The rest becomes zero.
struct causal_softmax {
  float* scores;
  int context;
  float scale;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    std::size_t const t = static_cast<std::size_t>(context);
    float* const row = scores + i * t;
    int const seen = static_cast<int>(i % t) + 1;
    float const largest = row_max(l, row, seen);
    for_columns(l, seen, [&](int k) { row[k] = std::exp((row[k] - largest) * scale); });
    float const share = 1.0f / row_sum(l, seen, [&](int k) { return row[k]; });
    for_columns(l, context, [&](int k) { row[k] = k < seen ? row[k] * share : 0.0f; });
  }
};

// The gradient of the probabilities becomes that of the products q k'.
struct causal_softmax_backward {
  float* gradient;
  float const* probabilities;
  int context;
  float scale;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    std::size_t const t = static_cast<std::size_t>(context);
    float* const ds = gradient + i * t;
    float const* const p = probabilities + i * t;
    int const seen = static_cast<int>(i % t) + 1;
    float const along = row_sum(l, seen, [&](int k) { return ds[k] * p[k]; });
    for_columns(l, context, [&](int k) { ds[k] = k < seen ? (ds[k] - along) * p[k] * scale : 0.0f; });
  }
};

}  // namespace gpt::kernel
