// SPDX-License-Identifier: Apache-2.0
// GELU by its tanh formula (Hendrycks, Gimpel 2016), the one GPT-2 uses.
#pragma once

#include "../matrix.hpp"

#include <algorithm>

namespace gpt {

// y = gelu(x), and x becomes gelu'(x). One pass, because both need the tanh, which is the expensive part.
template <class Real>
void gelu(Real* y, Real* x_then_slope, std::ptrdiff_t size) {
  constexpr std::ptrdiff_t piece = 1024;  // three arrays of 4 KiB stay in the first-level cache
  Real const root = Real(0.7978845608028654), cubic = Real(0.044715);  // sqrt(2/pi)
  Eigen::Array<Real, 1, Eigen::Dynamic, Eigen::RowMajor, 1, piece> t;
  for (std::ptrdiff_t i = 0; i < size; i += piece) {
    std::ptrdiff_t const n = std::min(piece, size - i);
    row_view<Real> x(x_then_slope + i, n);
    t = (root * x * (Real(1) + cubic * x.square())).tanh();
    row_view<Real>(y + i, n) = Real(0.5) * x * (Real(1) + t);
    x = Real(0.5) * (Real(1) + t) +
        Real(0.5) * root * x * (Real(1) - t.square()) * (Real(1) + Real(3) * cubic * x.square());
  }
}

// dy becomes dx = dy * gelu'(x).
template <class Real>
void gelu_backward(Real* dy, Real const* slope, std::ptrdiff_t size) {
  row_view<Real>(dy, size) *= const_row_view<Real>(slope, size);
}

}  // namespace gpt
