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

/// What the sweep already knows about a block when it asks for its code.
struct block_info {
  int count;   ///< valid elements, 1 … Block; the lane_block holds +0 beyond them
  float amax;  ///< largest |x| of the block; finite and at most `C::largest`
  /// index of the block's first element in this rank's model, for compressors that draw
  std::uint64_t element = 0;
  draw stream = {};  ///< RNG stream: round, rank and phase
};

/// Where one block lies in the message: its codes (16-byte aligned for full blocks) and side information such
/// as a scale (4-byte aligned). Little endian; element 0 is in the least significant bits.
struct wire_block {
  std::byte* code;
  std::byte* side;
};
struct wire_block_view {
  std::byte const* code;
  std::byte const* side;
};

/// Traits of a compressor: `static constexpr compressor_traits traits{};`
struct compressor_traits {
  bool lossless = false;       ///< decoding gives the encoded values bit for bit, so no residual is kept
  bool linear = false;         ///< decoding the mean of messages gives the mean of the decoded messages
  bool keeps_zero = true;      ///< exactly 0 decodes to exactly 0; false where elements are mixed
  bool whole_tensors = false;  ///< staged: cannot work on a part of a tensor
  double rereads = -1;         ///< staged: how often x is read again; -1: once per stage over chunks
  bool scratch = false;        ///< staged: has scratch_bytes(elements, columns)
  bool memory = false;         ///< staged: has memory_elements(elements, columns)
  bool agrees =
      false;  ///< staged: the memory is the same on all ranks; has agree(lanes, contributors, memory)
  bool constants = false;  ///< staged: has constant_elements and write_constants(float*)
};

/// What every compressor states at compile time, whether it works on blocks or in stages
/// (concepts/staged.hpp).
template <class C>
concept states_wire = std::copyable<C> && std::is_trivially_copyable_v<C> && requires(std::size_t n) {
  { C::name } -> std::convertible_to<std::string_view>;
  { C::block } -> std::convertible_to<int>;
  { C::traits } -> std::same_as<compressor_traits const&>;
  { C::largest } -> std::convertible_to<float>;  // a larger magnitude is an error; values never saturate
  { C::code_bytes(n) } -> std::convertible_to<std::size_t>;  // codes of n ≤ block elements of one block
};
/// The least amax of a block (or slice) that is still written with the compressor's usual relative error.
/// Smaller values go to the residual, where there is one.
template <class C>
concept states_smallest = requires {
  { C::smallest } -> std::convertible_to<float>;
};
template <class C>
concept states_codes = states_wire<C> && states_smallest<C>;
template <class C>
concept states_blocks = states_codes<C> && requires {
  { C::side_bytes } -> std::convertible_to<std::size_t>;  // scales and similar, per block
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

/// `decode` passes its values to a sink instead of returning a lane_block: `sink(i, y)` for element i of this
/// lane. The use of y (add it, subtract it from x) then shares the decoding loop.
/// With a returned lane_block, each use costs a pass over L1. Sweep A took 0.47 instead of 0.2 ns per
/// element.
template <class C>
concept decodes_blocks = requires(C const& c, int count, wire_block_view in, detail::sink_archetype sink) {
  c.decode(solo{}, count, in, sink);
};

/// Independent blocks. Such a compressor fuses into both sweeps.
template <class C>
concept block_compressor = states_blocks<C> && encodes_blocks<C> && decodes_blocks<C>;

/// Blocks with a smaller amax are sent as zero and stay in the residual. Then levels/amax and its product
/// with any element stay finite, with a margin.
inline constexpr float smallest_block_magnitude = 0x1p-100f;

template <class C>
inline constexpr bool linear_wires = [] {
  if constexpr (states_wire<C>)
    return C::traits.linear || C::traits.lossless;
  else
    return false;
}();

/// Bytes of side information per block.
template <compressor C>
inline constexpr std::size_t block_side_bytes = [] {
  if constexpr (states_blocks<C>)
    return std::size_t{C::side_bytes};
  else
    return std::size_t{0};
}();

/// Bits per parameter of a full block. It excludes what a staged compressor sends once per tensor.
template <compressor C>
inline constexpr double wire_bits = 8.0 * static_cast<double>(C::code_bytes(C::block) + block_side_bytes<C>) /
                                    static_cast<double>(C::block);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
