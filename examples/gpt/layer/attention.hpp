// SPDX-License-Identifier: Apache-2.0
// Causal self-attention of several heads. Each head is a series of matrix products on strided views of the
// (B, T, 3C) output of the qkv layer. Nothing is permuted or copied.
#pragma once

#include "../matrix.hpp"

#include <algorithm>

namespace gpt {

struct attention_shape {
  int batch, context, heads, width;  // B, T, NH, C
  int head_width() const { return width / heads; }
};

// Rows of a head are processed in groups. So the upper triangle of the scores, which the causal mask removes,
// is mostly not computed. With T = 128 and groups of 32 rows, 62 % of the square is computed.
inline constexpr int attention_rows = 32;

// Softmax of the first `seen` scores of a row, times scale. The rest becomes zero.
template <class Real>
void causal_softmax(Real* row, int seen, int length, Real scale) {
  row_view<Real> scores(row, seen);
  Real const largest = scores.maxCoeff();
  scores = ((scores - largest) * scale).exp();
  scores *= Real(1) / scores.sum();
  row_view<Real>(row + seen, length - seen).setZero();
}

// out (B, T, C), probabilities (B, NH, T, T) <- qkv (B, T, 3C)
template <class Real>
void attention(Real* out, Real* probabilities, Real const* qkv, attention_shape const& s) {
  int const t = s.context, c = s.width, d = s.head_width();
  Real const scale = Real(1) / std::sqrt(Real(d));
  for (int b = 0; b < s.batch; ++b) {
    for (int h = 0; h < s.heads; ++h) {
      Real const* const query = qkv + std::ptrdiff_t(b) * t * 3 * c + h * d;
      const_strided_view<Real> const q(query, t, d, stride(3 * c)), k(query + c, t, d, stride(3 * c)),
          v(query + 2 * c, t, d, stride(3 * c));
      strided_view<Real> o(out + std::ptrdiff_t(b) * t * c + h * d, t, d, stride(c));
      view<Real> p(probabilities + (std::ptrdiff_t(b) * s.heads + h) * t * t, t, t);
      for (int first = 0; first < t; first += attention_rows) {
        int const rows = std::min(attention_rows, t - first), seen = first + rows;
        auto scores = p.block(first, 0, rows, seen);
        scores.noalias() = q.middleRows(first, rows) * k.topRows(seen).transpose();
        for (int i = 0; i < rows; ++i) causal_softmax(&p(first + i, 0), first + i + 1, seen, scale);
        o.middleRows(first, rows).noalias() = scores * v.topRows(seen);
      }
    }
  }
}

// One head's dq, dk, dv from its do. `scores` (attention_rows, T) is scratch.
template <class Real, class Gradient, class Input, class Output>
void attention_head_backward(Gradient dq, Gradient dk, Gradient dv, Output const& gradient, Input const& q,
                             Input const& k, Input const& v, const_view<Real> const& p, Real* scratch) {
  int const t = static_cast<int>(q.rows());
  Real const scale = Real(1) / std::sqrt(Real(q.cols()));
  dk.setZero();
  dv.setZero();
  for (int first = 0; first < t; first += attention_rows) {
    int const rows = std::min(attention_rows, t - first), seen = first + rows;
    auto const p_rows = p.block(first, 0, rows, seen);
    auto const do_rows = gradient.middleRows(first, rows);
    view<Real> ds(scratch, rows, seen);
    ds.noalias() = do_rows * v.topRows(seen).transpose();
    for (int i = 0; i < rows; ++i) {
      auto const p_row = p_rows.row(i).array();
      auto ds_row = ds.row(i).array();
      Real const along = (ds_row * p_row).sum();
      ds_row = (ds_row - along) * p_row * scale;
    }
    dv.topRows(seen).noalias() += p_rows.transpose() * do_rows;
    dq.middleRows(first, rows).noalias() = ds * k.topRows(seen);
    dk.topRows(seen).noalias() += ds.transpose() * q.middleRows(first, rows);
  }
}

// dqkv (B, T, 3C) <- dout (B, T, C)
template <class Real>
void attention_backward(Real* dqkv, Real const* dout, Real const* qkv, Real const* probabilities,
                        Real* scratch, attention_shape const& s) {
  int const t = s.context, c = s.width, d = s.head_width();
  for (int b = 0; b < s.batch; ++b) {
    for (int h = 0; h < s.heads; ++h) {
      std::ptrdiff_t const query = std::ptrdiff_t(b) * t * 3 * c + h * d;
      auto const input = [&](int part) {
        return const_strided_view<Real>(qkv + query + part * c, t, d, stride(3 * c));
      };
      auto const gradient = [&](int part) {
        return strided_view<Real>(dqkv + query + part * c, t, d, stride(3 * c));
      };
      const_strided_view<Real> const output(dout + std::ptrdiff_t(b) * t * c + h * d, t, d, stride(c));
      const_view<Real> const p(probabilities + (std::ptrdiff_t(b) * s.heads + h) * t * t, t, t);
      attention_head_backward<Real>(gradient(0), gradient(1), gradient(2), output, input(0), input(1),
                                    input(2), p, scratch);
    }
  }
}

}  // namespace gpt
