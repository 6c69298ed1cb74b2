// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>

#include <array>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// When a stage of a staged compressor runs. `fused`: on each chunk as soon as x is computed and still in
/// cache (first stage only).
/// `chunks`: on each chunk, after the previous stage has ended everywhere. `whole`: once per slice.
enum class stage { fused, chunks, whole };

/// One tensor, or the part of it that goes into one slot, as a staged compressor gets it. It consists of
/// chunks of `block` elements; the last one may be shorter.
/// code(j) holds the bytes of chunk j: 16-byte aligned, code_bytes(count) long. side holds the bytes of the
/// whole slice: slice_bytes(elements, columns) long.
struct slice_shape {
  std::size_t elements = 0;
  std::size_t columns =
      0;  ///< columns of the tensor as a matrix: elements over its first extent; 1 for a vector
  std::uint64_t first = 0;  ///< index of its first element in the trainer's model, for compressors that draw
  draw stream = {};         ///< RNG stream for the same: round, rank and phase; only the round when decoding
  std::size_t chunk = 0;    ///< elements of a full chunk
  std::size_t stride = 0;   ///< bytes from one chunk's code to the next
  float const* constants = nullptr;  ///< what the compressor's write_constants wrote
  /// memory_elements(elements, columns) floats from the last committed round. Initially zeros, or what was
  /// agreed on. Null when decoding, unless the compressor agrees on it.
  float const* memory = nullptr;
  [[nodiscard]] DILOCO_HD std::size_t chunks() const { return (elements + chunk - 1) / chunk; }
  [[nodiscard]] DILOCO_HD int count(std::size_t j) const {
    std::size_t const left = elements - j * chunk;
    return static_cast<int>(left < chunk ? left : chunk);
  }
};
struct slice_view : slice_shape {
  std::byte const* side = nullptr;
  std::byte const* codes = nullptr;
  [[nodiscard]] DILOCO_HD std::byte const* code(std::size_t j) const { return codes + j * stride; }
};
struct slice : slice_shape {
  float* x = nullptr;  ///< (elements) values to encode, read-only
  std::byte* side = nullptr;
  std::byte* codes = nullptr;
  std::byte* scratch = nullptr;  ///< scratch_bytes(elements, columns), 16-byte aligned, kept between stages
  float* next_memory =
      nullptr;  ///< memory of the next round, if this one commits; unused if ranks agree on it
  [[nodiscard]] DILOCO_HD std::byte* code(std::size_t j) const { return codes + j * stride; }
  [[nodiscard]] DILOCO_HD float* chunk_x(std::size_t j) const { return x + j * chunk; }
};

/// The contributions to one slice: every rank's message in roster order with its coefficient. Under
/// scatter–gather it is the owner's message alone.
struct slice_contributors : slice_shape {
  int contributors = 0;
  std::byte const* const* wires = nullptr;  ///< (contributors)
  float const* coefficients = nullptr;      ///< (contributors), or null for 1
  std::size_t side = 0, codes = 0;          ///< first byte of each within a message
  [[nodiscard]] DILOCO_HD slice_view message(int k) const {
    return {*this, wires[k] + side, wires[k] + codes};
  }
  [[nodiscard]] DILOCO_HD float coefficient(int k) const {
    return coefficients == nullptr ? 1.0f : coefficients[k];
  }
};

/// The number of stages, for device code, which cannot call a member of std::array.
template <class C>
inline constexpr std::size_t stage_count = C::stages.size();
template <class C, std::size_t Stage>
inline constexpr stage stage_at = C::stages[Stage];

/// True for a single, fused stage. The residual is then updated in the same kernel.
template <class C>
inline constexpr bool one_fused_stage = stage_count<C> == 1 && stage_at<C, 0> == stage::fused;

/// True if there is at least one stage and only the first may be fused.
template <class C>
consteval bool orders_stages() {
  for (std::size_t i = 1; i < C::stages.size(); ++i) {
    if (C::stages[i] == stage::fused) return false;
  }
  return C::stages.size() != 0;
}
template <class C>
concept encodes_stages = requires(C const& c, slice const& p) {
  c.template encode<0>(solo{}, p, std::size_t{});
};
template <class C>
concept decodes_chunks = requires(C const& c, slice_view const& p, float* g) {
  c.decode(solo{}, p, std::size_t{}, 1.0f, g);
};
/// Needs more than one block at a time and names its stages:
///   static constexpr std::array stages{stage::fused};
///   template <int Stage, lanes L> void encode(L, slice const&, std::size_t chunk) const;
///     writes codes and side
///   template <lanes L> void decode(L, slice_view const&, std::size_t chunk, float c, float* g) const;
///     adds c·y: g[i] ← fma(c, y[i], g[i]) for each element of the chunk that was sent
/// Decoding must give only finite numbers, whatever the bytes.
/// Its traits say which of these members it has, too:
///   .scratch:   static constexpr std::size_t scratch_bytes(std::size_t elements, std::size_t columns);
///   .memory:    static constexpr std::size_t memory_elements(std::size_t elements, std::size_t columns);
///     floats of each rank's own, about what it encodes
///   .agrees:    template <lanes L> void agree(L, slice_contributors const&, float* next_memory) const;
///     runs once per slice of a committed round, on every rank and over the same messages. It alone writes
///     the memory of the next round. At construction it runs over no messages, for the first round. Decode
///     gets the memory, too, and its arithmetic must be replicated.
///   .constants: static constexpr std::size_t constant_elements; static void write_constants(float*);
template <class C>
concept staged_compressor = states_stages<C> && encodes_stages<C> && decodes_chunks<C>;

namespace detail {
template <class C>
concept has_scratch = requires(std::size_t n) {
  { C::scratch_bytes(n, n) } -> std::same_as<std::size_t>;
};
template <class C>
concept has_memory = requires(std::size_t n) {
  { C::memory_elements(n, n) } -> std::same_as<std::size_t>;
};
template <class C>
concept has_agree = requires(C const& c, slice_contributors const& p, float* next_memory) {
  c.agree(solo{}, p, next_memory);
};
template <class C>
concept has_constants = requires(float* to) {
  { C::constant_elements } -> std::convertible_to<std::size_t>;
  C::write_constants(to);
};
/// Whether a staged compressor has the members that its traits name, and no others of them.
template <class C>
inline constexpr bool has_what_its_traits_say =
    C::traits.scratch == has_scratch<C>&& C::traits.memory == has_memory<C>&& C::traits.agrees ==
    has_agree<C>&& C::traits.constants == has_constants<C>;
}  // namespace detail

template <class C>
concept agrees_on_memory = staged_compressor<C> && C::traits.agrees;

template <class C>
constexpr std::size_t scratch_bytes_of([[maybe_unused]] std::size_t elements,
                                       [[maybe_unused]] std::size_t columns) {
  if constexpr (C::traits.scratch)
    return C::scratch_bytes(elements, columns);
  else
    return 0;
}
template <class C>
constexpr std::size_t memory_elements_of([[maybe_unused]] std::size_t elements,
                                         [[maybe_unused]] std::size_t columns) {
  if constexpr (C::traits.memory)
    return C::memory_elements(elements, columns);
  else
    return 0;
}
template <class C>
inline constexpr std::size_t constant_elements_of = [] {
  if constexpr (C::traits.constants)
    return std::size_t{C::constant_elements};
  else
    return std::size_t{0};
}();
template <class C>
inline constexpr bool wants_whole_tensors = C::traits.whole_tensors;

/// The trainer's columns pad each tensor to a multiple of this. For a block compressor it is the block, so
/// that no block spans two tensors. A staged compressor works in memory and masks the end itself.
inline constexpr int staged_padding = 256;
template <compressor C>
inline constexpr int padding_of = states_stages<C> ? staged_padding : static_cast<int>(C::block);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
