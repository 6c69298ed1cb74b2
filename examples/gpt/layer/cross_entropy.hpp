// SPDX-License-Identifier: Apache-2.0
// The loss: minus the log probability of the actual next byte, in nats.
#pragma once

#include "../matrix.hpp"

#include <cmath>
#include <cstdint>
#include <span>

namespace gpt {

// logits (N, V) become probabilities. Returns the sum of the losses of the N rows.
template <class Real>
double cross_entropy(Real* logits, std::span<std::uint8_t const> targets, int vocabulary) {
  double total = 0;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    row_view<Real> row(logits + static_cast<std::ptrdiff_t>(i) * vocabulary, vocabulary);
    Real const largest = row.maxCoeff(), target = row[targets[i]];
    row = (row - largest).exp();
    Real const sum = row.sum();
    row *= Real(1) / sum;
    total += std::log(static_cast<double>(sum)) + static_cast<double>(largest - target);
  }
  return total;
}

// probabilities (N, V) become the gradient of weight * (sum of the losses) by the logits.
template <class Real>
void cross_entropy_backward(Real* probabilities, std::span<std::uint8_t const> targets, int vocabulary,
                            Real weight) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    row_view<Real> row(probabilities + static_cast<std::ptrdiff_t>(i) * vocabulary, vocabulary);
    row[targets[i]] -= Real(1);
    row *= weight;
  }
}

}  // namespace gpt
