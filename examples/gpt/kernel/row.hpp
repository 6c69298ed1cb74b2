// SPDX-License-Identifier: Apache-2.0
// Shared by the kernels. A tile of most of them is a row. Lane r owns columns r, r + width, …; one thread
// owns all of them on the host. No lane reads what another one wrote, so no barrier is needed.
#pragma once

#include <diloco/core/ordered_sum.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace gpt::kernel {

using diloco::lanes;

template <lanes L, class F>
DILOCO_HD void for_columns(L, int columns, F&& f) {
  for (int k = L::rank(); k < columns; k += L::width) f(k);
}

// The same bits for 1 lane and for 32.
template <lanes L, class F>
DILOCO_HD float row_sum(L l, int columns, F&& f) {
  return diloco::ordered_sum(l, static_cast<std::size_t>(columns),
                             [&](std::size_t k) { return f(static_cast<int>(k)); });
}

// Lanes compare integers. This integer grows with the float.
DILOCO_HD inline std::uint32_t order_of(float x) {
  std::uint32_t const bits = diloco::bits_of(x);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
DILOCO_HD inline float float_in_order(std::uint32_t order) {
  return diloco::float_of(order >> 31 != 0 ? order & 0x7fffffffu : ~order);
}

template <lanes L>
DILOCO_HD float row_max(L l, float const* row, int columns) {
  std::uint32_t most = 0;
  for_columns(l, columns, [&](int k) { most = diloco::larger(most, order_of(row[k])); });
  return float_in_order(L::max(most));
}

// Elementwise work is split into tiles of 256.
inline constexpr std::size_t tile_elements = 256;
inline std::size_t tiles_of(std::size_t elements) { return (elements + tile_elements - 1) / tile_elements; }

template <lanes L, class F>
DILOCO_HD void for_tile(L, std::size_t tile, std::size_t elements, F&& f) {
  std::size_t const begin = tile * tile_elements;
  std::size_t const end = elements - begin < tile_elements ? elements : begin + tile_elements;
  for (std::size_t i = begin + static_cast<std::size_t>(L::rank()); i < end; i += L::width) f(i);
}

template <class T>
struct copy {
  T* to;
  T const* from;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    for_tile(l, tile, elements, [&](std::size_t i) { to[i] = from[i]; });
  }
};

struct fill {
  float* to;
  float value;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    for_tile(l, tile, elements, [&](std::size_t i) { to[i] = value; });
  }
};

}  // namespace gpt::kernel
