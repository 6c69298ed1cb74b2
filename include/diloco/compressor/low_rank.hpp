// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/orthonormal.hpp>
#include <diloco/compressor/detail/raw.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Which factors low_rank works with. own: each worker has its own pair and sends both. common: all workers
/// hold one factor and send the other.
enum class factors { own, common };

/// Approximates a matrix X (first extent × the rest) by P·Qᵀ of rank R (PowerSGD, Vogels et al. 2019). A
/// round starts from the last round's factor, so one or two multiplications a round follow the leading
/// directions. Vectors, and matrices that would not become shorter, are sent uncompressed.
///
/// own: P = orthonormal(X·Q) with the Q of the last round, then Q = Xᵀ·P. A message has R·(rows + columns)
/// float32. The cost is 4·R multiply-adds for each parameter. The mean of the products may have a rank up to
/// R·K.
/// The compressor is not linear, so the residual is taken against the worker's own product. A column that
/// vanishes is zero for one round.
///
/// common (the alternating form of the authors' later code): in even rounds all hold an orthonormal Q and
/// send P = X·Q. In odd rounds all hold P and send Q = Xᵀ·P. The next common factor is orthonormal(Σ c·sent),
/// where a column that vanished is drawn anew.
/// It is linear: the mean has rank R, the owner of a shard loses nothing, and both residuals work. The cost
/// is 2·R multiply-adds for each parameter. A message has R·max(rows, columns) float32 in each round, because
/// slots have one size. So in every other round the shorter factor is padded with zeros.
/// The first Q is random, so round 0 transmits little.
template <int R, factors Form = factors::own>
struct low_rank {
  static_assert(R >= 1 && R <= 64, "diloco: low_rank: R is in [1, 64]");
  /// Seed of the first round's Q and of columns that are drawn anew.
  std::uint32_t seed = 0;

  static constexpr bool is_common = Form == factors::common;
  static constexpr auto label =
      join(std::string_view("low_rank"), unsigned(R), std::string_view(is_common ? "/common" : ""));
  static constexpr std::string_view name = label.view();
  static constexpr int block = 4096;
  // An element is a sum of R products.
  static constexpr compressor_traits traits{
      .linear = is_common, .keeps_zero = false, .whole_tensors = true, .memory = true, .agrees = is_common};
  static constexpr float largest = 0x1p40f;  // sums of products stay finite
  static constexpr float smallest = 0x1p-100f;
  static constexpr auto stages = [] {
    if constexpr (is_common)
      return std::array{stage::chunks};
    else
      return std::array{stage::chunks, stage::whole, stage::chunks};
  }();
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t) { return 0; }
  /// Floats in a slot: both factors (own), or the longer of the two (common).
  DILOCO_HD static constexpr std::size_t said(std::size_t elements, std::size_t columns) {
    std::size_t const rows = elements / columns;
    return R * (!is_common ? rows + columns : rows > columns ? rows : columns);
  }
  DILOCO_HD static constexpr bool raw(std::size_t elements, std::size_t columns) {
    return columns == 1 || said(elements, columns) >= elements;
  }
  static constexpr std::size_t slice_bytes(std::size_t elements, std::size_t columns) {
    return sizeof(float) * (raw(elements, columns) ? elements : said(elements, columns));
  }
  static constexpr std::size_t memory_elements(std::size_t elements, std::size_t columns) {
    return raw(elements, columns) ? 0 : is_common ? said(elements, columns) : R * columns;
  }

  template <int Stage, lanes L>
  DILOCO_HD void encode(L l, slice const& s, std::size_t j) const {
    if (raw(s.elements, s.columns)) {
      if constexpr (Stage == 0) detail::send_raw(l, s, j);
      return;
    }
    float* const side = reinterpret_cast<float*>(s.side);
    std::size_t const rows = s.elements / s.columns;
    if constexpr (is_common) {
      if (says_p(s.stream.round))
        multiply_rows(l, s, j, side);
      else
        multiply_columns(l, s, j, s.memory, [&](std::size_t i, float sum) { side[i] = sum; });
      leave_over(l, s, j, side);
    } else {
      if constexpr (Stage == 0) multiply_rows(l, s, j, side);
      if constexpr (Stage == 1) detail::orthonormalize(l, side, rows, R, [](float*, int) {});
      if constexpr (Stage == 2)
        multiply_columns(l, s, j, side,
                         [&](std::size_t i, float sum) { s.next_memory[i] = side[R * rows + i] = sum; });
    }
  }

  template <lanes L>
  DILOCO_HD void decode(L l, slice_view const& s, std::size_t j, float c, float* DILOCO_RESTRICT g) const {
    if (raw(s.elements, s.columns)) return detail::add_raw(l, s, j, c, g);
    std::size_t const begin = j * block, end = begin + static_cast<std::size_t>(s.count(j));
    auto const lane = static_cast<std::size_t>(L::rank()), step = static_cast<std::size_t>(L::width);
    std::size_t const columns = s.columns, rows = s.elements / columns;
    auto const* const side = reinterpret_cast<float const*>(s.side);
    float const* const all_p = is_common && !says_p(s.stream.round) ? s.memory : side;
    float const* const all_q = !is_common ? side + R * rows : says_p(s.stream.round) ? s.memory : side;
    for (std::size_t i = begin / columns; i * columns < end; ++i) {
      std::size_t const from = i * columns < begin ? begin : i * columns;
      std::size_t const to = (i + 1) * columns < end ? (i + 1) * columns : end;
      float const* const q = all_q + (from - i * columns);
      float* const to_g = g + (from - begin);
      float p[R];
      for (int r = 0; r < R; ++r)
        p[r] = detail::number_on_wire(all_p[static_cast<std::size_t>(r) * rows + i]);
      for (std::size_t e = lane; e < to - from; e += step) {
        float y = 0.0f;
        for (int r = 0; r < R; ++r)
          y = fma(p[r], detail::number_on_wire(q[static_cast<std::size_t>(r) * columns + e]), y);
        to_g[e] = fma(c, y, to_g[e]);
      }
    }
  }

  /// Computes the factor that all hold in the next round: the orthonormalized sum of the factors sent in this
  /// round.
  template <lanes L>
  DILOCO_HD void agree(L l, slice_contributors const& s, float* next) const
      requires(Form == factors::common) {
    if (raw(s.elements, s.columns)) return;
    auto const lane = static_cast<std::size_t>(L::rank()), step = static_cast<std::size_t>(L::width);
    bool const first = s.contributors == 0;
    std::uint64_t const round = s.stream.round + (first ? 0 : 1);
    std::size_t const n = says_p(round) ? s.columns : s.elements / s.columns;
    auto const redraw = [&](float* column, int r) {
      for (std::size_t i = lane; i < n; i += step) column[i] = drawn(s, round, r, i);
    };
    for (int r = 0; r < R; ++r) {
      float* const column = next + static_cast<std::size_t>(r) * n;
      if (first) {
        redraw(column, r);
        continue;
      }
      for (std::size_t i = lane; i < n; i += step) column[i] = 0.0f;
      for (int k = 0; k < s.contributors; ++k) {
        float const c = s.coefficient(k);
        float const* const wire =
            reinterpret_cast<float const*>(s.message(k).side) + static_cast<std::size_t>(r) * n;
        for (std::size_t i = lane; i < n; i += step)
          column[i] = fma(c, detail::number_on_wire(wire[i]), column[i]);
      }
    }
    L::sync();
    detail::orthonormalize(l, next, n, R, redraw);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 4294967295.0});
  }
  friend bool operator==(low_rank const&, low_rank const&) = default;

 private:
  /// In the common form, even rounds send P and hold Q, odd rounds send Q and hold P. Factors lie column
  /// after column, in messages and in memory.
  DILOCO_HD static constexpr bool says_p(std::uint64_t round) { return round % 2 == 0; }

  /// The j-th share of P = X·Q, with Q from memory. The chunks share the matrix rows evenly.
  template <lanes L>
  DILOCO_HD void multiply_rows(L l, slice const& s, std::size_t j, float* p) const {
    std::size_t const columns = s.columns, rows = s.elements / columns, chunks = s.chunks();
    for (int r = 0; r < R; ++r) {
      float const* const q = s.memory + static_cast<std::size_t>(r) * columns;
      std::uint32_t const seen = is_common ? 0 : magnitude_of(l, q, columns);
      bool const fresh = !is_common && seen == 0;
      float const unit = seen < least_unscaled ? unit_of(seen) : 1.0f;
      bool const scaled = !is_common && !fresh && unit != 1.0f;
      for (std::size_t i = rows * j / chunks; i < rows * (j + 1) / chunks; ++i) {
        float const* const x = s.x + i * columns;
        float const sum =
            fresh ? ordered_sum(l, columns, [&](std::size_t k) { return product(x[k], drawn(s, 0, r, k)); })
            : scaled
                ? ordered_sum(l, columns, [=](std::size_t k) { return product(x[k], product(q[k], unit)); })
                : ordered_sum(l, columns, [=](std::size_t k) { return product(x[k], q[k]); });
        if (L::rank() == 0) p[static_cast<std::size_t>(r) * rows + i] = sum;
      }
    }
  }
  /// 2⁻⁴⁰. Q = Xᵀ·P is as small as X. So X·Q would fall below 2⁻¹²⁶ where X is below 2⁻⁶³. With Q at or above
  /// this magnitude it cannot.
  static constexpr std::uint32_t least_unscaled = 0x2b800000u;
  /// Bits of the largest magnitude in q, or of any magnitude that is at least `least_unscaled`. As a rule the
  /// first 32 elements are enough.
  template <lanes L>
  DILOCO_HD static std::uint32_t magnitude_of(L, float const* q, std::size_t columns) {
    std::uint32_t most = 0;
    for (std::size_t first = 0; first < columns && most < least_unscaled; first += 32) {
      for (auto k = first + static_cast<std::size_t>(L::rank()); k < first + 32 && k < columns; k += L::width)
        most = larger(most, magnitude_bits(q[k]));
      most = L::max(most);
    }
    return most;
  }
  /// A random number in (−½, ½), the same on all ranks.
  DILOCO_HD float drawn(slice_shape const& s, std::uint64_t round, int r, std::size_t k) const {
    random_words const words =
        philox(static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(s.first / 256),
               static_cast<std::uint32_t>(r), 0x4c4f5752u + static_cast<std::uint32_t>(round), seed);
    return static_cast<float>(static_cast<std::int32_t>(words.v[0]) >> 8) * 0x1p-24f;
  }
  /// The j-th share of Q = Xᵀ·P. One pass over the rows adds up 32 matrix columns. It calls out(i, sum),
  /// where i counts Q's elements column after column.
  template <lanes L, class Out>
  DILOCO_HD static void multiply_columns(L, slice const& s, std::size_t j, float const* all_p, Out&& out) {
    constexpr std::size_t panel = 32;
    std::size_t const columns = s.columns, rows = s.elements / columns;
    for (std::size_t first = j * panel; first < columns; first += s.chunks() * panel) {
      for (int r = 0; r < R; ++r) {
        float const* const p = all_p + static_cast<std::size_t>(r) * rows;
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
          if (k < n) out(static_cast<std::size_t>(r) * columns + first + k, sum[v]);
        }
      }
    }
  }
  /// Writes zeros to the j-th share of the part of the slot that this round's factor does not fill.
  template <lanes L>
  DILOCO_HD static void leave_over(L, slice const& s, std::size_t j, float* side) {
    std::size_t const used = R * (says_p(s.stream.round) ? s.elements / s.columns : s.columns);
    std::size_t const rest = said(s.elements, s.columns) - used, chunks = s.chunks();
    auto i = rest * j / chunks + static_cast<std::size_t>(L::rank());
    for (; i < rest * (j + 1) / chunks; i += L::width) side[used + i] = 0.0f;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
