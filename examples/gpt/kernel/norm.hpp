// SPDX-License-Identifier: Apache-2.0
// layer/norm.hpp for lanes. A tile is a row.
#pragma once

#include "row.hpp"

namespace gpt::kernel {

struct norm {
  float *y, *unit, *inverse_deviation;  // (N, C), (N, C), (N)
  float const *x, *gain, *bias;         // (N, C), (C), (C)
  int width;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    std::size_t const row = i * static_cast<std::size_t>(width);
    float const* const in = x + row;
    float const mean = row_sum(l, width, [&](int k) { return in[k]; }) / static_cast<float>(width);
    float const square = row_sum(l, width, [&](int k) { return (in[k] - mean) * (in[k] - mean); });
    float const inverse = 1.0f / std::sqrt(square / static_cast<float>(width) + 1e-5f);
    for_columns(l, width, [&](int k) {
      unit[row + k] = (in[k] - mean) * inverse;
      y[row + k] = unit[row + k] * gain[k] + bias[k];
    });
    if (L::rank() == 0) inverse_deviation[i] = inverse;
  }
};

// dx (N, C) += the gradient of the input. `unit` becomes each row's share of the gain's gradient.
struct norm_backward {
  float *dx, *unit;
  float const *dy, *gain, *inverse_deviation;
  int width;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    std::size_t const row = i * static_cast<std::size_t>(width);
    float const* const out = dy + row;
    float* const u = unit + row;
    float const mean = row_sum(l, width, [&](int k) { return out[k] * gain[k]; }) / static_cast<float>(width);
    float const along =
        row_sum(l, width, [&](int k) { return out[k] * gain[k] * u[k]; }) / static_cast<float>(width);
    for_columns(l, width, [&](int k) {
      dx[row + k] += (out[k] * gain[k] - mean - u[k] * along) * inverse_deviation[i];
      u[k] *= out[k];
    });
  }
};

}  // namespace gpt::kernel
