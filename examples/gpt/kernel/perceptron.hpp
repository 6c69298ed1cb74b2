// SPDX-License-Identifier: Apache-2.0
// layer/gelu.hpp for lanes, and the bias of layer/linear.hpp.
#pragma once

#include "row.hpp"

namespace gpt::kernel {

// Initial value for a product that is then added: y (N, out) = bias, or y + bias. A tile is a row.
struct begin_with_bias {
  float* y;
  float const* bias;
  int out;
  bool add;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t i) const {
    float* const row = y + i * static_cast<std::size_t>(out);
    for_columns(l, out, [&](int k) { row[k] = add ? row[k] + bias[k] : bias[k]; });
  }
};

// y = gelu(x), and x becomes gelu'(x).
struct gelu {
  float *y, *x_then_slope;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    float const root = 0.7978845608028654f, cubic = 0.044715f;  // sqrt(2/pi)
    for_tile(l, tile, elements, [&](std::size_t i) {
      float const x = x_then_slope[i], t = std::tanh(root * x * (1.0f + cubic * x * x));
      y[i] = 0.5f * x * (1.0f + t);
      x_then_slope[i] = 0.5f * (1.0f + t) + 0.5f * root * x * (1.0f - t * t) * (1.0f + 3.0f * cubic * x * x);
    });
  }
};

// dy becomes dx = dy * gelu'(x).
struct gelu_backward {
  float* dy;
  float const* slope;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    for_tile(l, tile, elements, [&](std::size_t i) { dy[i] *= slope[i]; });
  }
};

}  // namespace gpt::kernel
