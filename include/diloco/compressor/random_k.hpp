// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/sparse.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// K of each chunk's elements as float32, one from each of K equal runs. Every rank draws the same places
/// from the seed, the round and the position. So no index is sent and messages may be added up (linear). It
/// takes 32·K/Chunk bits.
/// `unbiased` multiplies by Chunk/K for the elements left out. Error feedback should run without this factor
/// (Stich et al. 2018; BytePS). Under scatter–gather the owner draws the same places again, so its
/// quantization loses nothing.
template <int K, int Chunk = 4096>
struct random_k {
  static_assert(0 < K && K <= Chunk && Chunk % 256 == 0,
                "diloco: random_k: K is in [1, Chunk], and Chunk a multiple of 256");
  std::uint32_t seed = 0;
  bool unbiased = false;

  static constexpr auto label =
      join(std::string_view("random_k"), unsigned(K), std::string_view("/"), unsigned(Chunk));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Chunk;
  static constexpr compressor_traits traits{.linear = true};
  static constexpr float largest = 3.4028235e38f / Chunk;
  static constexpr float smallest = 0x1p-126f;
  static constexpr std::array stages{stage::fused};
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) {
    return sizeof(float) * static_cast<std::size_t>(kept(n));
  }
  static constexpr std::size_t slice_bytes(std::size_t, std::size_t) { return 0; }

  template <int, lanes L>
  DILOCO_HD void encode(L l, slice const& s, std::size_t j) const {
    int const n = s.count(j);
    float const* const x = s.chunk_x(j);
    auto* const out = reinterpret_cast<float*>(s.code(j));
    float const scale =
        unbiased ? static_cast<float>(n) / static_cast<float>(kept(static_cast<std::size_t>(n))) : 1.0f;
    for_each_drawn(l, s, j,
                   [&](int p, int i) { out[p] = s.stream.phase == 0 ? product(x[i], scale) : x[i]; });
  }
  template <lanes L>
  DILOCO_HD void decode(L l, slice_view const& s, std::size_t j, float c, float* g) const {
    auto const* const in = reinterpret_cast<float const*>(s.code(j));
    for_each_drawn(l, s, j, [&](int p, int i) {
      // A value that no encoder writes reads as 0.
      float const y = magnitude_bits(in[p]) < 0x7f800000u ? in[p] : 0.0f;
      g[i] = fma(c, y, g[i]);
    });
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 4294967295.0});
    f("unbiased", unbiased, zero_to_one);
  }
  friend bool operator==(random_k const&, random_k const&) = default;

 private:
  DILOCO_HD static constexpr int kept(std::size_t n) { return detail::kept_of<K, Chunk>(n); }

  /// Calls f(p, i): the p-th place of chunk j is element i. One call of the generator gives four places.
  template <lanes L, class F>
  DILOCO_HD void for_each_drawn(L, slice_shape const& s, std::size_t j, F&& f) const {
    auto const n = static_cast<std::uint64_t>(s.count(j));
    int const k = kept(n);
    std::uint64_t const chunk = (s.first + j * Chunk) / 256;  // two short tensors may share the same draw
    for (int call = L::rank(); 4 * call < k; call += L::width) {
      random_words const words = philox(static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(chunk),
                                        static_cast<std::uint32_t>(s.stream.round), 0x52414e44u, seed);
      for (int p = 4 * call; p < 4 * call + 4 && p < k; ++p) {
        std::uint64_t const begin = n * static_cast<std::uint64_t>(p) / static_cast<std::uint64_t>(k);
        std::uint64_t const end = n * static_cast<std::uint64_t>(p + 1) / static_cast<std::uint64_t>(k);
        f(p, static_cast<int>(begin + (words.v[p % 4] * (end - begin) >> 32)));
      }
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
