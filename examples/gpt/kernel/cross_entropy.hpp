// SPDX-License-Identifier: Apache-2.0
// layer/cross_entropy.hpp for lanes. A tile is a row of the logits (N, V).
#pragma once

#include "row.hpp"

namespace gpt::kernel {

// logits become probabilities. losses (N) are in nats, or null to skip them.
struct cross_entropy {
  float *logits, *losses;
  std::uint8_t const* targets;
  int vocabulary;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    float* const row = logits + i * static_cast<std::size_t>(vocabulary);
    int const target = losses == nullptr ? 0 : targets[i];
    bool const mine = losses != nullptr && L::rank() == target % L::width;
    float const at_target = mine ? row[target] : 0.0f, largest = row_max(l, row, vocabulary);
    for_columns(l, vocabulary, [&](int k) { row[k] = std::exp(row[k] - largest); });
    float const sum = row_sum(l, vocabulary, [&](int k) { return row[k]; }), share = 1.0f / sum;
    for_columns(l, vocabulary, [&](int k) { row[k] *= share; });
    if (mine) losses[i] = std::log(sum) + (largest - at_target);
  }
};

// probabilities become the gradient of weight * (sum of the losses) by the logits.
struct cross_entropy_backward {
  float* probabilities;
  std::uint8_t const* targets;
  int vocabulary;
  float weight;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    float* const row = probabilities + i * static_cast<std::size_t>(vocabulary);
    for_columns(l, vocabulary, [&](int k) { row[k] = (k == targets[i] ? row[k] - 1.0f : row[k]) * weight; });
  }
};

// A single tile: total += factor * (sum of the losses).
struct add_losses {
  double* total;
  float const* losses;
  std::size_t n;
  double factor;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    double const sum =
        diloco::ordered_sum<double>(l, n, [&](std::size_t i) { return static_cast<double>(losses[i]); });
    if (L::rank() == 0) *total += factor * sum;
  }
};

// A single tile: moves the total to memory that the host reads and resets it.
struct take_total {
  double *total, *to;
  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t) const {
    if (L::rank() != 0) return;
    *to = *total;
    *total = 0;
  }
};

}  // namespace gpt::kernel
