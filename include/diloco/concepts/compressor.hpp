// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>
#include <diloco/core/rng.hpp>

#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What the sweep already knows of a block when it asks for the code.
struct block_info {
  int count;                  ///< valid elements, 1 … Block; the lane_block reads +0 beyond
  float amax;                 ///< largest |x| of the block; finite and at most `C::largest`
  std::uint64_t element = 0;  ///< of the block's first element among this rank's; for compressors that draw
  draw who = {};              ///< which round, rank and phase draws
};

/// Where one block goes on the wire: codes (16-byte aligned for full blocks) and side information such as a
/// scale (4-byte aligned). Little endian; element 0 in the least significant bits.
struct wire_block {
  std::byte* code;
  std::byte* side;
};
struct wire_block_view {
  std::byte const* code;
  std::byte const* side;
};

/// What a compressor says of itself: `static constexpr compressor_traits traits{};`
struct compressor_traits {
  bool lossless = false;       ///< what is decoded is what was encoded, bit for bit: no residual is kept
  bool linear = false;         ///< decoding the mean of messages is the mean of decoding them
  bool keeps_zero = true;      ///< what is exactly 0 decodes to exactly 0; false where elements are mixed
  bool whole_tensors = false;  ///< staged: cannot work on a part of a tensor
  double rereads = -1;         ///< staged: how often x is read again; -1: once for each stage over chunks
};

/// What every compressor states about itself at compile time, blocks or staged (concepts/staged.hpp).
template <class C>
concept states_wire = std::copyable<C> && std::is_trivially_copyable_v<C> && requires(std::size_t n) {
  { C::name } -> std::convertible_to<std::string_view>;
  { C::block } -> std::convertible_to<int>;
  { C::traits } -> std::same_as<compressor_traits const&>;
  { C::largest } -> std::convertible_to<float>;  // a larger magnitude is an error, never saturated
  { C::code_bytes(n) } -> std::convertible_to<std::size_t>;  // codes of n ≤ block elements of one block
};
/// The smallest of a block's (or slice's) largest magnitudes that is still written with the compressor's
/// usual relative error. What is below goes to the residual, where there is one.
template <class C>
concept states_smallest = requires {
  { C::smallest } -> std::convertible_to<float>;
};
template <class C>
concept states_codes = states_wire<C> && states_smallest<C>;
template <class C>
concept states_blocks = states_codes<C> && requires {
  { C::side_bytes } -> std::convertible_to<std::size_t>;  // scales and the like, per block
};
template <class C>
concept states_stages = states_codes<C> && requires(std::size_t n) {
  C::stages.size();
  { C::slice_bytes(n, n) } -> std::convertible_to<std::size_t>;
};
template <class C>
concept compressor = states_blocks<C> || states_stages<C>;

template <class C>
inline constexpr bool keeps_zero = C::traits.keeps_zero;

template <class C>
concept encodes_blocks = requires(C const& c, lane_block<solo, C::block> const& x, block_info info,
                                  wire_block out) {
  c.encode(solo{}, x, info, out);
};
namespace detail {
struct sink_archetype {
  DILOCO_HD void operator()(int, float) const {}
};
}  // namespace detail

/// `decode` hands its values to a sink, `sink(i, y)` for element i of this lane, rather than returning a
/// lane_block: what is done with y (add, subtract from x) then shares the decoding loop. Through a returned
/// lane_block each use costs a pass over L1, and sweep A took 0.47 instead of 0.2 ns per element.
template <class C>
concept decodes_blocks = requires(C const& c, int count, wire_block_view in, detail::sink_archetype sink) {
  c.decode(solo{}, count, in, sink);
};

/// Independent blocks: fuses into both sweeps.
template <class C>
concept block_compressor = states_blocks<C> && encodes_blocks<C> && decodes_blocks<C>;

/// Blocks whose largest magnitude is below this are sent as zero (and stay in the residual): levels/amax and
/// its product with any element stay finite with room to spare.
inline constexpr float smallest_block_magnitude = 0x1p-100f;

template <class C>
inline constexpr bool linear_wires = [] {
  if constexpr (states_wire<C>)
    return C::traits.linear || C::traits.lossless;
  else
    return false;
}();

/// Bytes beside the codes of a block.
template <compressor C>
inline constexpr std::size_t block_side_bytes = [] {
  if constexpr (states_blocks<C>)
    return std::size_t{C::side_bytes};
  else
    return std::size_t{0};
}();

/// Bits per parameter of a full block; what a staged compressor sends once for a tensor is not in it.
template <compressor C>
inline constexpr double wire_bits = 8.0 * static_cast<double>(C::code_bytes(C::block) + block_side_bytes<C>) /
                                    static_cast<double>(C::block);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
