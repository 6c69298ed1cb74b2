// SPDX-License-Identifier: Apache-2.0
// Layer normalization. Each row gets mean 0 and variance 1, then a gain and a bias per column.
#pragma once

#include "../matrix.hpp"
#include "../parameters.hpp"

namespace gpt {

template <class Real>
struct norm_memory {
  array<Real> unit;               // (N, C): the rows before gain and bias
  array<Real> inverse_deviation;  // (N)
  norm_memory(std::size_t n, std::size_t c) : unit(n * c), inverse_deviation(n) {}
};

template <class Real>
void norm(Real* y, Real const* x, parameter<Real> const& gain, parameter<Real> const& bias,
          norm_memory<Real>& memory, int n) {
  int const c = static_cast<int>(gain.value.size());
  const_row_view<Real> const g(gain.value.data(), c), b(bias.value.data(), c);
  for (int i = 0; i < n; ++i) {
    std::ptrdiff_t const row = std::ptrdiff_t(i) * c;
    const_row_view<Real> const in(x + row, c);
    row_view<Real> unit(memory.unit.data() + row, c);
    Real const mean = in.mean();
    unit = in - mean;
    Real const inverse = Real(1) / std::sqrt(unit.square().mean() + Real(1e-5));
    unit *= inverse;
    row_view<Real>(y + row, c) = unit * g + b;
    memory.inverse_deviation[static_cast<std::size_t>(i)] = inverse;
  }
}

// dx (N, C) += the gradient of the input. The caller's dx is that of the residual stream, which also bypasses
// the norm.
template <class Real>
void norm_backward(Real* dx, Real const* dy, parameter<Real>& gain, parameter<Real>& bias,
                   norm_memory<Real> const& memory, int n) {
  int const c = static_cast<int>(gain.value.size());
  const_row_view<Real> const g(gain.value.data(), c);
  row_view<Real> gain_gradient(gain.gradient.data(), c), bias_gradient(bias.gradient.data(), c);
  for (int i = 0; i < n; ++i) {
    std::ptrdiff_t const row = std::ptrdiff_t(i) * c;
    const_row_view<Real> const out(dy + row, c), unit(memory.unit.data() + row, c);
    bias_gradient += out;
    gain_gradient += out * unit;
    Real const mean = (out * g).mean(), along = (out * g * unit).mean();
    row_view<Real>(dx + row, c) +=
        (out * g - mean - unit * along) * memory.inverse_deviation[static_cast<std::size_t>(i)];
  }
}

}  // namespace gpt
