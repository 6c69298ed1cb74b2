// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A factor of a product: a row-major matrix without gaps, or its transpose, for which nothing is copied.
struct operand {
  float const* data = nullptr;
  bool transposed = false;
};

/// C ← alpha·A·B + beta·C. beta = 0 writes C without reading it. C overlaps no operand.
struct matrix_product {
  std::size_t rows = 0, columns = 0, depth = 0;
  operand a,
      b;  ///< (rows, depth), (depth, columns); a transposed operand lies as (depth, rows), (columns, depth)
  float* c = nullptr;  ///< (rows, columns), row-major
  float alpha = 1.0f, beta = 0.0f;
};

/// C ← alpha·A·Aᵀ + beta·C for a symmetric C, of which one half is computed and the other mirrored.
struct gram_product {
  std::size_t side = 0, depth = 0;
  operand a;           ///< (side, depth); transposed, it lies as (depth, side)
  float* c = nullptr;  ///< (side, side)
  float alpha = 1.0f, beta = 0.0f;
};

/// Products of matrices on an executor. Both enqueue and never wait; all pointers lie where the executor's
/// columns lie.
template <class A>
concept linear_algebra = std::copyable<A> &&
    requires(A const& a, detail::executor_archetype where, matrix_product p, gram_product s) {
  { A::name } -> std::convertible_to<std::string_view>;
  a.multiply(where, p);
  a.gram(where, s);
};

/// And what turns a symmetric matrix on its axes; `step` of `soap` needs it. All matrices are (n, n),
/// row-major, q apart from the other.
///   eigenvectors(where, n, s, q)      columns of q: eigenvectors of the symmetric s, the largest eigenvalue
/// first
///   orthonormalize(where, n, a, q)    the q of a = q·r
template <class A>
concept spectral_algebra = linear_algebra<A> &&
    requires(A const& a, detail::executor_archetype where, std::size_t n, float const* from, float* to) {
  a.eigenvectors(where, n, from, to);
  a.orthonormalize(where, n, from, to);
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
