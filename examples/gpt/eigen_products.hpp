// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "matrix.hpp"
#include "products.hpp"

namespace gpt {

struct eigen_products {
  template <class Executor>
  void multiply(Executor const&, product const& p) const {
    static_assert(Executor::columns_on_host);
    for (int i = 0; i < p.batch; ++i) one(p, i);
  }

 private:
  static const_strided_view<float> view_of(factor const& f, int i, int rows, int columns) {
    return {f.data + i * f.apart, f.transposed ? columns : rows, f.transposed ? rows : columns,
            stride(f.line)};
  }
  static void one(product const& p, int i) {
    auto const a = view_of(p.a, i, p.rows, p.depth), b = view_of(p.b, i, p.depth, p.columns);
    strided_view<float> c(p.c.data + i * p.c.apart, p.rows, p.columns, stride(p.c.line));
    if (!p.add) c.setZero();
    if (p.a.transposed && p.b.transposed) {
      c.noalias() += a.transpose() * b.transpose();
    } else if (p.a.transposed) {
      c.noalias() += a.transpose() * b;
    } else if (p.b.transposed) {
      c.noalias() += a * b.transpose();
    } else {
      c.noalias() += a * b;
    }
  }
};

}  // namespace gpt
