// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/ordered_sum.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The unit of work of a tensor optimizer's kernels: a run of 4,096 elements of one tensor.
inline constexpr std::size_t tensor_tile = 4096;
DILOCO_HD constexpr std::size_t tensor_tiles(std::size_t elements) {
  return (elements + tensor_tile - 1) / tensor_tile;
}
/// Rounds elements up to a cache line, for parts of a scratch that follow each other.
DILOCO_HD constexpr std::size_t whole_lines(std::size_t elements) { return (elements + 15) / 16 * 16; }

/// The first element of a tile and its number of elements.
struct tile_range {
  std::size_t begin, count;
  DILOCO_HD tile_range(std::size_t tile, std::size_t elements)
      : begin(tile * tensor_tile), count(elements - begin < tensor_tile ? elements - begin : tensor_tile) {}
};

/// Calls f(i) for i in [0, n), distributed over lanes as in `ordered_sum`. So each lane then adds up what it
/// wrote itself.
template <lanes L, class F>
DILOCO_HD inline void for_lanes(L, std::size_t n, F&& f) {
  for (auto i = static_cast<std::size_t>(L::rank()); i < n; i += static_cast<std::size_t>(L::width)) f(i);
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
