// SPDX-License-Identifier: Apache-2.0
// y = x W' + b, with W stored (out, in) as in PyTorch.
#pragma once

#include "../matrix.hpp"
#include "../parameters.hpp"

namespace gpt {

// y (N, out) += x (N, in) W' + b. Adding costs nothing, because Eigen's product accumulates anyway. A caller
// gets the residual connection at no cost. For a plain product, clear y first.
template <class Real>
void linear_add(Real* y, Real const* x, parameter<Real> const& weight, parameter<Real> const& bias, int n) {
  int const out = static_cast<int>(weight.shape[0]), in = static_cast<int>(weight.shape[1]);
  view<Real> output(y, n, out);
  output.array().rowwise() += const_row_view<Real>(bias.value.data(), out);
  output.noalias() += const_view<Real>(x, n, in) * const_view<Real>(weight.value.data(), out, in).transpose();
}

template <class Real>
void linear(Real* y, Real const* x, parameter<Real> const& weight, parameter<Real> const& bias, int n) {
  int const out = static_cast<int>(weight.shape[0]), in = static_cast<int>(weight.shape[1]);
  view<Real> output(y, n, out);
  output.array().rowwise() = const_row_view<Real>(bias.value.data(), out);
  output.noalias() += const_view<Real>(x, n, in) * const_view<Real>(weight.value.data(), out, in).transpose();
}

// dx (N, in) = dy (N, out) W. Adds this batch's share to the gradients of W and b.
template <class Real>
void linear_backward(Real* dx, Real const* dy, Real const* x, parameter<Real>& weight, parameter<Real>& bias,
                     int n) {
  int const out = static_cast<int>(weight.shape[0]), in = static_cast<int>(weight.shape[1]);
  const_view<Real> const output_gradient(dy, n, out);
  view<Real>(dx, n, in).noalias() = output_gradient * const_view<Real>(weight.value.data(), out, in);
  view<Real>(weight.gradient.data(), out, in).noalias() +=
      output_gradient.transpose() * const_view<Real>(x, n, in);
  row_view<Real> bias_gradient(bias.gradient.data(), out);
  for (int i = 0; i < n; ++i) bias_gradient += const_row_view<Real>(dy + std::ptrdiff_t(i) * out, out);
}

}  // namespace gpt
