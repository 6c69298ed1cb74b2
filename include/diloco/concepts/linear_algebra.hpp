// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A factor of a product: a row-major matrix without gaps, or its transpose. A transpose is not copied.
struct operand {
  float const* data = nullptr;
  bool transposed = false;
};

/// C ← alpha·A·B + beta·C. With beta = 0, C is written without being read. C must not overlap an operand.
struct matrix_product {
  std::size_t rows = 0, columns = 0, depth = 0;
  operand a,
      b;  ///< (rows, depth), (depth, columns); a transposed operand lies as (depth, rows), (columns, depth)
  float* c = nullptr;  ///< (rows, columns), row-major
  float alpha = 1.0f, beta = 0.0f;
};

/// C ← alpha·A·Aᵀ + beta·C for a symmetric C. One half is computed and mirrored.
struct gram_product {
  std::size_t side = 0, depth = 0;
  operand a;           ///< (side, depth); transposed, it lies as (depth, side)
  float* c = nullptr;  ///< (side, side)
  float alpha = 1.0f, beta = 0.0f;
};

/// Matrix products on an executor. Both enqueue and never wait. All pointers lie in the memory of the
/// executor's columns.
template <class A>
concept linear_algebra = std::copyable<A> &&
    requires(A const& a, detail::executor_archetype where, matrix_product p, gram_product s) {
  { A::name } -> std::convertible_to<std::string_view>;
  a.multiply(where, p);
  a.gram(where, s);
};

/// Adds the factorizations of symmetric matrices that `step` of `soap` needs. All matrices are (n, n),
/// row-major. q must not overlap the other matrix.
///   eigenvectors(where, n, s, q)      columns of q: eigenvectors of s, the largest eigenvalue first
///   orthonormalize(where, n, a, q)    the q of a = q·r
template <class A>
concept spectral_algebra = linear_algebra<A> &&
    requires(A const& a, detail::executor_archetype where, std::size_t n, float const* from, float* to) {
  a.eigenvectors(where, n, from, to);
  a.orthonormalize(where, n, from, to);
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
