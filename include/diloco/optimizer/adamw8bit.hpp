// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/dynamic_map.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/detail/largest.hpp>
#include <diloco/optimizer/detail/tensor_tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A column in 8 bits: codes of `Map`, scaled by the largest magnitude of each block of 256. Codes are stored
/// xor the code of 0, so zeroed memory reads as +0. Magnitudes below 2⁻¹²⁶ are stored as 0. A block with NaN
/// or Inf reads as NaN.
template <class Map>
struct coded_column {
  static constexpr int block = 256;
  std::byte* codes;  ///< (blocks, 256)
  float* scales;     ///< (blocks)

  template <lanes L>
  DILOCO_HD void load(L l, std::size_t at, int count, lane_block<L, block>& x) const {
    float const amax = scales[at];
    Map::template decode<block>(l, count, codes + at * block, amax, Map::zero,
                                [&](int i, float y) { x.v[i] = y; });
  }
  /// Elements of x from `count` on are not read.
  template <lanes L>
  DILOCO_HD void store(L l, std::size_t at, int count, lane_block<L, block> const& x) const {
    std::uint32_t magnitude = 0;
    for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) {
      magnitude = larger(magnitude, magnitude_bits(x.v[i]));
    });
    std::uint32_t const most = L::max(magnitude);
    float const amax = most < smallest ? 0.0f : float_of(most);
    float const scale = most < smallest ? 0.0f : 1.0f / amax;
    Map::template encode<block>(l, count, x.v, scale, Map::zero, codes + at * block);
    if (L::rank() == 0) scales[at] = amax;
  }

 private:
  static constexpr std::uint32_t smallest = 1u << 23;  // 2⁻¹²⁶, whose reciprocal is finite
};

/// Lower bound of v after n steps, as a share of m². With r = β₁²/β₂ the Cauchy–Schwarz inequality gives m² ≤
/// v·(1 − β₁)²/(1 − β₂)·(1 + r + … + rⁿ⁻¹). The share is 0 before the first step, when m and v are 0.
/// The sum counts as at most 1024. It grows without bound only where β₂ ≤ β₁², and there AdamW's own steps do
/// too.
inline float least_square_of_mean(float beta1, float beta2, std::uint64_t n) {
  if (n == 0 || beta2 == 0.0f) return 0.0f;
  double const b1 = static_cast<double>(beta1), b2 = static_cast<double>(beta2), r = b1 * b1 / b2;
  double const terms =
      r == 1.0 ? static_cast<double>(n) : std::fma(-integer_power(r, n), 1.0, 1.0) / (1.0 - r);
  return static_cast<float>((1.0 - b2) / ((1.0 - b1) * (1.0 - b1) * (terms < 1024.0 ? terms : 1024.0)));
}

/// One sweep over a tensor in blocks of 256. It decodes the moments, takes AdamW's step and encodes the
/// moments.
struct adamw8bit_kernel {
  static constexpr int block = coded_column<dynamic_map<true>>::block;
  adamw::step step;
  float* p;
  float const *g, *grad_scale;
  coded_column<dynamic_map<true>> m;
  coded_column<dynamic_map<false>> v;
  std::size_t elements;
  float least;  ///< v ≥ least·m² holds before the step

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float const scale = *grad_scale;
    std::size_t const end = r.begin + r.count;
    for (std::size_t i = r.begin; i < end; i += block) {
      if (end - i >= block)
        one_block(l, scale, i, std::integral_constant<int, block>{});
      else
        one_block(l, scale, i, static_cast<int>(end - i));
    }
  }

 private:
  template <lanes L, class Count>
  DILOCO_HD void one_block(L l, float scale, std::size_t first, Count count) const {
    std::size_t const at = first / block;
    lane_block<L, block> moment, square;
    m.load(l, at, count, moment);
    v.load(l, at, count, square);
    std::size_t const own = first + static_cast<std::size_t>(first_element<L, block>(l));
    update(owned_elements<L, block>(l, count), scale, p + own, g + own, moment, square);
    m.store(l, at, count, moment);
    v.store(l, at, count, square);
  }
  template <lanes L>
  DILOCO_HD void update(int n, float scale, float* DILOCO_RESTRICT to, float const* DILOCO_RESTRICT from,
                        lane_block<L, block>& moment, lane_block<L, block>& square) const {
    for_first<L, lane_elements<L, block>>(n, [&](int i) {
      float const m_i = moment.v[i], bound = product(product(least, m_i), m_i), v_i = square.v[i];
      square.v[i] = v_i < bound ? bound : v_i;
      step(to[i], product(scale, from[i]), moment.v[i], square.v[i]);
    });
  }
};

/// AdamW's step on a tensor whose moments are in float32.
struct adamw_whole_kernel {
  adamw::step step;
  float* p;
  float const *g, *grad_scale;
  float *m, *v;
  std::size_t elements;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float const scale = *grad_scale;
    float *DILOCO_RESTRICT const to = p + r.begin, *DILOCO_RESTRICT const moment = m + r.begin,
                                 *DILOCO_RESTRICT const square = v + r.begin;
    float const* const from = g + r.begin;
    for_lanes(l, r.count, [&](std::size_t i) { step(to[i], product(scale, from[i]), moment[i], square[i]); });
  }
};

}  // namespace detail

/// AdamW with both moments in 8 bits (Dettmers et al. 2022). Codes are from the dynamic map, signed for m and
/// unsigned for v, scaled by the largest magnitude of each block of 256. Parameters move by the moments as
/// computed; the nearest codes of the moments are stored.
/// The state takes 2.03 B/param instead of 8. It takes one sweep, 16.1 B/param instead of 28. Tensors of
/// fewer than `LeastElements` elements keep float32 moments and follow adamw's trajectory bit by bit. Inner
/// only, over whole tensors; replicated.
/// On one host thread with AVX2, coding costs more than the saved bytes gain: at least twice adamw's time.
///
/// Effects of rounding to the nearest code, as in bitsandbytes. With beta2 = 0.999 an element's v rises only
/// where g² is above 5 to 36 times v. That is half a code in the uppermost decade; below it the factor is
/// larger. v falls only as its block's largest element, V, falls.
/// A v below 1.6e-7·V is stored as 0. It leaves 0 only by a gradient above √(1.6e-7/(1 − beta2))·√V =
/// 1.3e-2·√V.
/// In addition to bitsandbytes, v is raised to the least value that the stored m allows: no float32 history
/// has a smaller one. So no step is longer than AdamW's longest, lr·(1 − beta1)/√((1 − beta2)·(1 −
/// beta1²/beta2)), 7.3·lr with the defaults.
/// Blocks that mix gradients more than a factor of 80 apart need eps near 1e-2·√V. A NaN or Inf that
/// DILOCO_CHECKS lets in makes its block NaN in the next step.
template <std::size_t LeastElements = 4096>
struct adamw8bit {
  float lr = 1e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.01f;

  static constexpr std::string_view name = "adamw8bit";
  static constexpr optimizer_traits traits{.replicated = true, .memory = true};
  static constexpr std::array<std::string_view, 0> slots{};
  /// In 8 bits there are four parts, each rounded up to 64 bytes: codes of m, codes of v, scales of m, scales
  /// of v. Otherwise the memory holds m, then v.
  static constexpr std::size_t memory_elements(std::size_t rows, std::size_t columns) {
    std::size_t const n = rows * columns;
    return n < LeastElements ? 2 * n : 2 * (block / 4 * blocks(n) + detail::whole_lines(blocks(n)));
  }
  static constexpr std::size_t scratch_elements(std::size_t, std::size_t) { return 0; }

  /// AdamW with the same numbers and float32 moments.
  [[nodiscard]] constexpr adamw in_float32() const { return {lr, beta1, beta2, eps, weight_decay}; }

  template <executor E>
  void step(E const& where, tensor_step<0> const& t) const {
    std::size_t const n = t.rows * t.columns;
    auto const step = in_float32().at(t.context);
    if (n < LeastElements) {
      where.for_each(detail::tensor_tiles(n),
                     detail::adamw_whole_kernel{step, t.p, t.g, t.grad_scale, t.memory, t.memory + n, n});
    } else {
      auto* const codes = reinterpret_cast<std::byte*>(t.memory);
      std::size_t const bytes = block * blocks(n);
      float* const scales = t.memory + bytes / 2;
      where.for_each(
          detail::tensor_tiles(n),
          detail::adamw8bit_kernel{step,
                                   t.p,
                                   t.g,
                                   t.grad_scale,
                                   {codes, scales},
                                   {codes + bytes, scales + detail::whole_lines(blocks(n))},
                                   n,
                                   detail::least_square_of_mean(beta1, beta2, t.context.step - 1)});
    }
  }

  [[nodiscard]] constexpr float largest() const { return in_float32().largest(); }

  template <class F>
  constexpr void fields(F&& f) const {
    in_float32().fields(f);
    f("least_elements", LeastElements, non_negative);  // ranks must agree on this number too
  }
  friend bool operator==(adamw8bit const&, adamw8bit const&) = default;

 private:
  static constexpr std::size_t block = 256;
  static constexpr std::size_t blocks(std::size_t n) { return (n + block - 1) / block; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
