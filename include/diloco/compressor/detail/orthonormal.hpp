// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/fma.hpp>
#include <diloco/core/ordered_sum.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Makes the r-th column a unit vector orthogonal to the columns before it, which are orthonormal already.
/// Columns have n floats and lie one after another. It applies the modified Gram–Schmidt process twice.
/// Returns false and writes zeros where less than 1e-6 of the column's length is left. The bits are the same
/// for every number of lanes.
template <lanes L>
DILOCO_HD inline bool orthonormalize_column(L l, float* columns, std::size_t n, int r) {
  auto const lane = static_cast<std::size_t>(L::rank()), step = static_cast<std::size_t>(L::width);
  auto const dot = [&](float const* a, float const* b) {
    return ordered_sum(l, n, [&](std::size_t i) { return product(a[i], b[i]); });
  };
  float* const p = columns + static_cast<std::size_t>(r) * n;
  // First, a power of two near the largest element scales the column. A product of matrices may be so small
  // that its squares leave the range of float.
  std::uint32_t most = 0;
  for (std::size_t i = lane; i < n; i += step) most = larger(most, magnitude_bits(p[i]));
  most = L::max(most);
  if (most < 0x00800000u || most >= 0x7e800000u) most = 0;  // zero, or the reciprocal is out of range
  float const unit = most == 0 ? 0.0f : float_of(0x7f000000u - (most & 0x7f800000u));
  for (std::size_t i = lane; i < n; i += step) p[i] = most == 0 ? 0.0f : product(p[i], unit);
  L::sync();
  float const before = dot(p, p);
  // In float, one pass does not give orthogonal columns where one direction dominates.
  for (int pass = 0; pass < 2; ++pass) {
    for (int t = 0; t < r; ++t) {
      float const* const earlier = columns + static_cast<std::size_t>(t) * n;
      float const along = dot(p, earlier);
      for (std::size_t i = lane; i < n; i += step) p[i] = fma(-along, earlier[i], p[i]);
      L::sync();
    }
  }
  float const after = dot(p, p);
  float const scale = after > before * 1e-12f ? 1.0f / std::sqrt(after) : 0.0f;
  L::sync();
  for (std::size_t i = lane; i < n; i += step) p[i] = scale == 0.0f ? 0.0f : product(p[i], scale);
  L::sync();
  return scale != 0.0f;
}

/// Orthonormalizes all `count` columns in order. redraw(column, r) rewrites a column of which nothing is
/// left. The column stays zero if nothing is left of the new one either.
template <lanes L, class Redraw>
DILOCO_HD inline void orthonormalize(L l, float* columns, std::size_t n, int count, Redraw&& redraw) {
  for (int r = 0; r < count; ++r) {
    if (orthonormalize_column(l, columns, n, r)) continue;
    redraw(columns + static_cast<std::size_t>(r) * n, r);
    L::sync();
    orthonormalize_column(l, columns, n, r);
  }
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
