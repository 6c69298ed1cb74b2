// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/staged.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// A tensor that is sent without compression: its elements stand in `side`, in place of a staged compressor's
// output.

/// Reads a number of a message that holds for a whole tensor. A value that no encoder writes reads as 0. A
/// sum of 64 products of two such numbers is finite.
DILOCO_HD inline float number_on_wire(float y) { return magnitude_bits(y) <= bits_of(0x1p60f) ? y : 0.0f; }

template <lanes L>
DILOCO_HD inline void send_raw(L, slice const& s, std::size_t j) {
  float* const out = reinterpret_cast<float*>(s.side) + j * s.chunk;
  for (int i = L::rank(); i < s.count(j); i += L::width) out[i] = s.chunk_x(j)[i];
}
template <lanes L>
DILOCO_HD inline void add_raw(L, slice_view const& s, std::size_t j, float c, float* DILOCO_RESTRICT g) {
  float const* const in = reinterpret_cast<float const*>(s.side) + j * s.chunk;
  for (int i = L::rank(); i < s.count(j); i += L::width) g[i] = fma(c, number_on_wire(in[i]), g[i]);
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
