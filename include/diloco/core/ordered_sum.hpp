// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Σ f(i) for i in [0, n), in one order for every number of lanes: 32 partial sums over i ≡ 0 … 31 (mod 32),
/// then a tree by halves. One thread keeps all 32 sums, which vectorizes. 32 lanes keep one each and exchange
/// them.
/// f must return its term rounded, so an inexact product goes through `product`. Every lane gets the sum. T
/// is float or double.
template <class T = float, lanes L, class F>
DILOCO_HD inline T ordered_sum(L, std::size_t n, F&& f) {
  static_assert(L::width == 1 || L::width == 32, "diloco: sums are ordered for 1 and for 32 lanes");
  if constexpr (L::width == 1) {
    T part[32] = {};
    std::size_t i = 0;
    for (; i + 32 <= n; i += 32) {
      for (std::size_t v = 0; v < 32; ++v) part[v] += f(i + v);
    }
    for (std::size_t v = 0; i + v < n; ++v) part[v] += f(i + v);
    for (int half = 16; half > 0; half /= 2) {
      for (int v = 0; v < half; ++v) part[v] += part[v + half];
    }
    return part[0];
  } else {
    T part = 0;
    for (auto i = static_cast<std::size_t>(L::rank()); i < n; i += 32) part += f(i);
    for (int half = 16; half > 0; half /= 2) part += L::partner(part, half);
    return part;
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
