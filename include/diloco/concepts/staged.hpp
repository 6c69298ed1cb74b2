// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>

#include <array>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// When a stage of a staged compressor runs: `fused`, on each chunk as soon as x is computed, while it is in
/// cache (first stage only); `chunks`, on each chunk once the stage before has ended everywhere; `whole`,
/// once for each slice.
enum class stage { fused, chunks, whole };

/// One tensor, or the part of it that goes into one slot, as a staged compressor finds it: chunks of `block`
/// elements, the last one shorter. What is sent of chunk j alone stands in code(j), 16-byte aligned,
/// code_bytes(count) long; what is sent for all of it in side, slice_bytes(elements, columns) long.
struct slice_shape {
  std::size_t elements = 0;
  std::size_t columns =
      0;  ///< of the matrix that the tensor is: elements over its first extent; 1 for a vector
  std::uint64_t first = 0;  ///< its first element among all of the trainer's, for compressors that draw
  draw who = {};            ///< likewise: round, rank and phase; to decode the round alone
  std::size_t chunk = 0;    ///< elements of a full chunk
  std::size_t stride = 0;   ///< bytes from one chunk's code to the next
  float const* constants = nullptr;  ///< what the compressor's write_constants wrote
  /// memory_elements(elements, columns) of the last round that stood, at first zeros or what was agreed on.
  /// To decode: null, unless the compressor agrees on it.
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
  float* x = nullptr;  ///< (elements) what is to be said: to read
  std::byte* side = nullptr;
  std::byte* codes = nullptr;
  std::byte* scratch = nullptr;  ///< scratch_bytes(elements, columns), 16-byte aligned, kept between stages
  float* next_memory =
      nullptr;  ///< that of the next round, if this one stands; not for those who agree on it
  [[nodiscard]] DILOCO_HD std::byte* code(std::size_t j) const { return codes + j * stride; }
  [[nodiscard]] DILOCO_HD float* chunk_x(std::size_t j) const { return x + j * chunk; }
};

/// What is said of one slice: every rank's wire in roster order with its share, or under scatter–gather the
/// owner's alone.
struct slice_voices : slice_shape {
  int voices = 0;
  std::byte const* const* wires = nullptr;  ///< (voices)
  float const* coefficients = nullptr;      ///< (voices), or null for 1
  std::size_t side = 0, codes = 0;          ///< first byte of each within a wire
  [[nodiscard]] DILOCO_HD slice_view voice(int k) const { return {*this, wires[k] + side, wires[k] + codes}; }
  [[nodiscard]] DILOCO_HD float coefficient(int k) const {
    return coefficients == nullptr ? 1.0f : coefficients[k];
  }
};

/// For device code, which may not call a member of std::array.
template <class C>
inline constexpr std::size_t stage_count = C::stages.size();
template <class C, std::size_t Stage>
inline constexpr stage stage_at = C::stages[Stage];

/// One stage, fused: then the residual follows at once, too.
template <class C>
inline constexpr bool one_fused_stage = stage_count<C> == 1 && stage_at<C, 0> == stage::fused;

/// At least one stage, and only the first of them fused.
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
/// Needs more than a block at a time, and says in which stages:
///   static constexpr std::array stages{stage::fused};
///   template <int Stage, lanes L> void encode(L, slice const&, std::size_t chunk) const;   writes codes and
/// side
///   template <lanes L> void decode(L, slice_view const&, std::size_t chunk, float c, float* g) const;
///                                     g[i] ← fma(c, y[i], g[i]) for each element of the chunk that was sent;
/// adds c·y Only finite numbers may come out of any bytes. Optional: scratch_bytes and memory_elements of
/// (elements, columns). The memory is each rank's own, of what it encodes, unless they agree on it:
///   template <lanes L> void agree(L, slice_voices const&, float* next_memory) const;
/// runs once for each slice of a round that stands, on every rank over the same wires, and alone writes the
/// memory of the next one; at construction over none, for that of the first. Then decode has the memory, too.
/// Replicated arithmetic.
template <class C>
concept staged_compressor = states_stages<C> && encodes_stages<C> && decodes_chunks<C>;
template <class C>
concept agrees_on_memory = staged_compressor<C> &&
    requires(C const& c, slice_voices const& p, float* next_memory) {
  c.agree(solo{}, p, next_memory);
};

template <class C>
constexpr std::size_t scratch_bytes_of([[maybe_unused]] std::size_t elements,
                                       [[maybe_unused]] std::size_t columns) {
  if constexpr (requires { C::scratch_bytes(elements, columns); })
    return C::scratch_bytes(elements, columns);
  else
    return 0;
}
template <class C>
constexpr std::size_t memory_elements_of([[maybe_unused]] std::size_t elements,
                                         [[maybe_unused]] std::size_t columns) {
  if constexpr (requires { C::memory_elements(elements, columns); })
    return C::memory_elements(elements, columns);
  else
    return 0;
}
template <class C>
inline constexpr std::size_t constant_elements_of = [] {
  if constexpr (requires { C::constant_elements; })
    return std::size_t{C::constant_elements};
  else
    return std::size_t{0};
}();
template <class C>
inline constexpr bool wants_whole_tensors = C::traits.whole_tensors;

/// Our own columns pad each tensor to this many elements: a block, so that no block spans two tensors; a
/// staged compressor works in memory and masks the end itself.
inline constexpr int staged_padding = 256;
template <compressor C>
inline constexpr int padding_of = states_stages<C> ? staged_padding : static_cast<int>(C::block);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
