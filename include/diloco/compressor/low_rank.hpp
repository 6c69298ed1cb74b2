// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/raw.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/ordered_sum.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {

/// A matrix X (first extent × the rest) as P·Qᵀ of rank R (PowerSGD, Vogels et al. 2019): P = orthonormal(X·Q), Q = Xᵀ·P, with
/// the Q of the last round to start from, so that one multiplication each way a round follows the leading directions.
/// Orthonormal by the modified Gram–Schmidt process, twice, columns in order; a column that is
/// left with less than 1e-6 of its length is set to zero. Each worker sends its own pair, R·(rows + columns) float32, in one exchange, and the mean of the products is
/// taken: its rank may reach R·K, and no worker waits for a common P. Vectors, and matrices that would not become shorter,
/// are sent as they are. The residual is against the own product; one against the mean's
/// needs a common P, which a round of one exchange has not. 4·R multiply-adds for each parameter.
template <int R>
struct low_rank {
  static_assert(R >= 1 && R <= 64, "diloco: low_rank: R is in [1, 64]");
  std::uint32_t seed = 0;  ///< of the first round's Q

  static constexpr auto label = join(std::string_view("low_rank"), unsigned(R));
  static constexpr std::string_view name = label.view();
  static constexpr int block = 4096;
  static constexpr bool lossless = false;
  static constexpr bool whole_tensors = true;
  static constexpr float largest = 0x1p40f;  // products of sums stay finite
  static constexpr std::array stages{stage::chunks, stage::whole, stage::chunks};
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t) { return 0; }
  DILOCO_HD static constexpr bool raw(std::size_t elements, std::size_t columns) {
    return columns == 1 || R * (elements / columns + columns) >= elements;
  }
  static constexpr std::size_t slice_bytes(std::size_t elements, std::size_t columns) {
    return sizeof(float) * (raw(elements, columns) ? elements : R * (elements / columns + columns));
  }
  static constexpr std::size_t memory_elements(std::size_t elements, std::size_t columns) {
    return raw(elements, columns) ? 0 : R * columns;
  }

  template <int Stage, lanes L>
  DILOCO_HD void encode(L l, slice const& s, std::size_t j) const {
    if (raw(s.elements, s.columns)) {
      if constexpr (Stage == 0) detail::send_raw(l, s, j);
      return;
    }
    if constexpr (Stage == 0) multiply_rows(l, s, j);
    if constexpr (Stage == 1) orthonormalize(l, s);
    if constexpr (Stage == 2) multiply_columns(l, s, j);
  }

  template <lanes L>
  DILOCO_HD void decode(L l, slice_view const& s, std::size_t j, float c, float* DILOCO_RESTRICT g) const {
    if (raw(s.elements, s.columns)) return detail::add_raw(l, s, j, c, g);
    std::size_t const begin = j * block, end = begin + static_cast<std::size_t>(s.count(j));
    auto const* const side = reinterpret_cast<float const*>(s.side);
    auto const lane = static_cast<std::size_t>(L::rank()), step = static_cast<std::size_t>(L::width);
    std::size_t const columns = s.columns, rows = s.elements / columns;
    for (std::size_t i = begin / columns; i * columns < end; ++i) {
      std::size_t const from = i * columns < begin ? begin : i * columns;
      std::size_t const to = (i + 1) * columns < end ? (i + 1) * columns : end;
      float const* const q = side + R * rows + (from - i * columns);
      float* const to_g = g + (from - begin);
      float p[R];
      for (int r = 0; r < R; ++r) p[r] = detail::number_on_wire(side[static_cast<std::size_t>(r) * rows + i]);
      for (std::size_t e = lane; e < to - from; e += step) {
        float y = 0.0f;
        for (int r = 0; r < R; ++r)
          y = fma(p[r], detail::number_on_wire(q[static_cast<std::size_t>(r) * columns + e]), y);
        to_g[e] = fma(c, y, to_g[e]);
      }
    }
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 4294967295.0});
  }
  friend bool operator==(low_rank const&, low_rank const&) = default;

 private:
  /// P's columns one after another, then Q's.
  DILOCO_HD static float* p_of(slice const& s, int r) {
    return reinterpret_cast<float*>(s.side) + static_cast<std::size_t>(r) * (s.elements / s.columns);
  }
  DILOCO_HD static float* q_of(slice const& s, int r) {
    return reinterpret_cast<float*>(s.side) + R * (s.elements / s.columns) + static_cast<std::size_t>(r) * s.columns;
  }

  /// The j-th share of P = X·Q: as many matrix rows as there are chunks to share them.
  template <lanes L>
  DILOCO_HD void multiply_rows(L l, slice const& s, std::size_t j) const {
    std::size_t const columns = s.columns, rows = s.elements / columns, chunks = s.chunks();
    for (int r = 0; r < R; ++r) {
      float const* const q = s.memory + static_cast<std::size_t>(r) * columns;
      bool const fresh = is_zero(l, q, columns);
      for (std::size_t i = rows * j / chunks; i < rows * (j + 1) / chunks; ++i) {
        float const* const x = s.x + i * columns;
        float const sum = fresh ? ordered_sum(l, columns, [&](std::size_t k) { return product(x[k], drawn(s, r, k)); })
                                : ordered_sum(l, columns, [=](std::size_t k) { return product(x[k], q[k]); });
        if (L::rank() == 0) p_of(s, r)[i] = sum;
      }
    }
  }
  template <lanes L>
  DILOCO_HD static bool is_zero(L, float const* q, std::size_t columns) {
    for (std::size_t first = 0; first < columns; first += 32) {  // the first 32 tell, as a rule
      std::uint32_t any = 0;
      for (auto k = first + static_cast<std::size_t>(L::rank()); k < first + 32 && k < columns; k += L::width)
        any |= magnitude_bits(q[k]);
      if (L::max(any) != 0) return false;
    }
    return true;
  }
  /// In (−½, ½), the same on all ranks.
  DILOCO_HD float drawn(slice const& s, int r, std::size_t k) const {
    random_words const words = philox(static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(s.first / 256),
                                      static_cast<std::uint32_t>(r), 0x4c4f5752u, seed);
    return static_cast<float>(static_cast<std::int32_t>(words.v[0]) >> 8) * 0x1p-24f;
  }
  template <lanes L>
  DILOCO_HD static void orthonormalize(L l, slice const& s) {
    std::size_t const rows = s.elements / s.columns;
    auto const lane = static_cast<std::size_t>(L::rank()), step = static_cast<std::size_t>(L::width);
    auto const dot = [&](float const* a, float const* b) {
      return ordered_sum(l, rows, [&](std::size_t i) { return product(a[i], b[i]); });
    };
    for (int r = 0; r < R; ++r) {
      float* const p = p_of(s, r);
      // By a power of two near its largest element first: X·Q is of the order of X², and squares of that leave the range.
      std::uint32_t most = 0;
      for (std::size_t i = lane; i < rows; i += step) most = larger(most, magnitude_bits(p[i]));
      most = L::max(most);
      if (most < 0x00800000u || most >= 0x7e800000u) most = 0;  // nothing, or too much to turn over
      float const unit = most == 0 ? 0.0f : float_of(0x7f000000u - (most & 0x7f800000u));
      for (std::size_t i = lane; i < rows; i += step) p[i] = most == 0 ? 0.0f : product(p[i], unit);
      L::sync();
      float const before = dot(p, p);
      for (int pass = 0; pass < 2; ++pass) {  // once is not orthogonal in float where one direction dominates
        for (int t = 0; t < r; ++t) {
          float const* const earlier = p_of(s, t);
          float const along = dot(p, earlier);
          for (std::size_t i = lane; i < rows; i += step) p[i] = fma(-along, earlier[i], p[i]);
          L::sync();
        }
      }
      float const after = dot(p, p);
      float const scale = after > before * 1e-12f ? 1.0f / std::sqrt(after) : 0.0f;
      L::sync();
      for (std::size_t i = lane; i < rows; i += step) p[i] = scale == 0.0f ? 0.0f : product(p[i], scale);
      L::sync();
    }
  }
  /// The j-th share of Q = Xᵀ·P: 32 matrix columns at a time, which one pass over the rows adds up.
  template <lanes L>
  DILOCO_HD static void multiply_columns(L, slice const& s, std::size_t j) {
    constexpr std::size_t panel = 32;
    std::size_t const columns = s.columns, rows = s.elements / columns;
    for (std::size_t first = j * panel; first < columns; first += s.chunks() * panel) {
      for (int r = 0; r < R; ++r) {
        float const* const p = p_of(s, r);
        std::size_t const n = columns - first < panel ? columns - first : panel;
        float sum[panel / L::width] = {};
        for (std::size_t i = 0; i < rows; ++i) {
          float const* const x = s.x + i * columns + first;
          float const pi = p[i];
          for (std::size_t v = 0; v < panel / L::width; ++v) {
            std::size_t const k = v * L::width + static_cast<std::size_t>(L::rank());
            if (n == panel || k < n) sum[v] = fma(x[k], pi, sum[v]);
          }
        }
        for (std::size_t v = 0; v < panel / L::width; ++v) {
          std::size_t const k = v * L::width + static_cast<std::size_t>(L::rank());
          if (k < n) s.next_memory[static_cast<std::size_t>(r) * columns + first + k] = q_of(s, r)[first + k] = sum[v];
        }
      }
    }
  }
};

}  // namespace v0
}  // namespace diloco
