// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace v0 {

/// θ̄ ← θ, once at construction.
struct copy_to_anchor_kernel {
  static constexpr int block = 256;

  tile const* tiles;
  float* const* theta;  // (rows)
  float* anchor;        // padded column

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float const* p = theta[t.row] + t.begin;
    for_each_block<block>(t, [&](int offset, auto count) {
      int const first = offset + first_element<L, block>(l);
      float* DILOCO_RESTRICT to = anchor + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) { to[i] = p[first + i]; });
    });
  }
};

/// column ← 0.
struct zero_kernel {
  static constexpr int block = 256;

  float* column;
  std::size_t elements;
  [[nodiscard]] std::size_t tiles() const { return (elements + block - 1) / block; }

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    std::size_t const begin = index * block, left = elements - begin;
    int const count = static_cast<int>(left < block ? left : block);
    float* const to = column + begin + first_element<L, block>(l);
    for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) { to[i] = 0.0f; });
  }
};

}  // namespace v0
}  // namespace diloco
