// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>
#include <diloco/optimizer/detail/tensor_tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A tensor cut into tiles of 32 rows × 1,024 columns. A vector is a single row, and its column statistics
/// are its second moments.
struct adafactor_tiling {
  static constexpr std::size_t tall = 32, wide = 1024;
  std::size_t rows, columns, panels, blocks;
  bool vector;
  constexpr adafactor_tiling(std::size_t r, std::size_t c)
      : rows(r == 1 || c == 1 ? 1 : r),
        columns(r == 1 || c == 1 ? r * c : c),
        panels((rows + tall - 1) / tall),
        blocks((columns + wide - 1) / wide),
        vector(rows == 1) {}
  [[nodiscard]] DILOCO_HD constexpr std::size_t tiles() const { return panels * blocks; }

  /// Calls f(row, first element, count) for each row's piece in a tile.
  template <class F>
  DILOCO_HD void for_rows(std::size_t tile, F&& f) const {
    std::size_t const panel = tile / blocks, first = tile % blocks * wide;
    std::size_t const count = columns - first < wide ? columns - first : wide;
    std::size_t const end = (panel + 1) * tall < rows ? (panel + 1) * tall : rows;
    for (std::size_t row = panel * tall; row < end; ++row) f(row, row * columns + first, count);
  }
};

/// Computes Σ g² over each piece of a row and of a column, and Σ p² of each tile.
struct adafactor_square_kernel {
  adafactor_tiling at;
  float const *g, *grad_scale, *p;
  float *row_parts, *column_parts, *p_parts;  ///< (blocks, rows), (panels, columns), (tiles)

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    std::size_t const block = tile % at.blocks, panel = tile / at.blocks;
    float* DILOCO_RESTRICT const column = column_parts + panel * at.columns + block * adafactor_tiling::wide;
    float const scale = *grad_scale;
    float p_sum = 0.0f;
    at.for_rows(tile, [&](std::size_t row, std::size_t begin, std::size_t n) {
      float const *const from = g + begin, *const theta = p + begin;
      auto const square = [&](std::size_t i) {
        float const grad = product(from[i], scale);
        return product(grad, grad);
      };
      if (row % adafactor_tiling::tall == 0)
        for_lanes(l, n, [&](std::size_t i) { column[i] = square(i); });
      else
        for_lanes(l, n, [&](std::size_t i) { column[i] += square(i); });
      float const sum = ordered_sum(l, n, square);
      p_sum += ordered_sum(l, n, [&](std::size_t i) { return product(theta[i], theta[i]); });
      if (L::rank() == 0) row_parts[block * at.rows + row] = sum;
    });
    if (L::rank() == 0) p_parts[tile] = p_sum;
  }
};

/// statistic ← statistic + weight·(mean − statistic) with mean = Σ parts / divisor. It overwrites `parts`
/// (count, n).
struct adafactor_statistic_kernel {
  float *parts, *statistic;
  std::size_t count, n;
  float divisor, weight;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, n);
    float* DILOCO_RESTRICT const sum = parts + r.begin;
    float* DILOCO_RESTRICT const to = statistic + r.begin;
    for (std::size_t k = 1; k < count; ++k) {
      float const* const part = parts + k * n + r.begin;
      for_lanes(l, r.count, [&](std::size_t i) { sum[i] += part[i]; });
    }
    for_lanes(l, r.count, [&](std::size_t i) { to[i] = fma(weight, sum[i] / divisor - to[i], to[i]); });
  }
};

/// Numbers of a whole tensor, kept in the scratch between kernels.
struct adafactor_numbers {
  float row_mean;  ///< max(mean of the row statistics, eps1)
  float alpha;     ///< max(eps2, RMS(p))·rho
  float factor;    ///< −alpha / max(1, RMS(u) / d)
};

struct adafactor_alpha_kernel {
  adafactor_tiling at;
  float const *row, *p_parts;
  adafactor_numbers* numbers;
  float eps1, eps2, rho;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    auto const rows = static_cast<float>(at.rows), size = static_cast<float>(at.rows * at.columns);
    float const mean =
        at.vector ? 1.0f : ordered_sum(l, at.rows, [&](std::size_t i) { return row[i]; }) / rows;
    float const rms = std::sqrt(ordered_sum(l, at.tiles(), [&](std::size_t i) { return p_parts[i]; }) / size);
    if (L::rank() != 0) return;
    numbers->row_mean = mean < eps1 ? eps1 : mean;  // the comparison keeps a NaN, here and below
    numbers->alpha = product(rms < eps2 ? eps2 : rms, rho);
  }
};

struct adafactor_factor_kernel {
  adafactor_tiling at;
  float const* u_parts;
  adafactor_numbers* numbers;
  float d;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    auto const size = static_cast<float>(at.rows * at.columns);
    float const rms = std::sqrt(ordered_sum(l, at.tiles(), [&](std::size_t i) { return u_parts[i]; }) / size);
    if (L::rank() == 0) numbers->factor = -numbers->alpha / (rms <= d ? 1.0f : rms / d);
  }
};

/// u = g / √max(V, eps1²) with V = row·column / row_mean. With `measure` the kernel computes Σ u² of each
/// tile. A second launch computes u again and applies it.
struct adafactor_update_kernel {
  adafactor_tiling at;
  float const *g, *grad_scale, *row, *column;
  adafactor_numbers const* numbers;
  float *p, *u_parts;
  float least, keep;
  bool measure;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    float const* const v = column + tile % at.blocks * adafactor_tiling::wide;
    float const scale = *grad_scale, factor = measure ? 0.0f : numbers->factor;
    float sum = 0.0f;
    at.for_rows(tile, [&](std::size_t i_row, std::size_t begin, std::size_t n) {
      float const* const from = g + begin;
      float const share = at.vector ? 1.0f : row[i_row] / numbers->row_mean;
      auto const u = [&](std::size_t i) {
        float const moment = product(share, v[i]);
        return product(from[i], scale) / std::sqrt(moment < least ? least : moment);
      };
      if (measure) {
        sum += ordered_sum(l, n, [&](std::size_t i) {
          float const x = u(i);
          return product(x, x);
        });
      } else {
        float* DILOCO_RESTRICT const to = p + begin;
        for_lanes(l, n, [&](std::size_t i) { to[i] = fma(factor, u(i), product(keep, to[i])); });
      }
    });
    if (measure && L::rank() == 0) u_parts[tile] = sum;
  }
};

/// Layout of one tensor's scratch.
struct adafactor_scratch {
  std::size_t row_parts = 0, column_parts, tile_parts, numbers, size;
  constexpr adafactor_scratch(std::size_t rows, std::size_t columns) {
    adafactor_tiling const at(rows, columns);
    column_parts = whole_lines(at.rows * at.blocks);
    tile_parts = column_parts + whole_lines(at.columns * at.panels);
    numbers = tile_parts + whole_lines(at.tiles());
    size = numbers + 16;
  }
};

}  // namespace detail

/// Adafactor (Shazeer & Stern 2018) on PyTorch's trajectory. Second moments of a matrix are an outer product
/// of row and column means. Rates are relative to RMS(θ). Updates are clipped to RMS d. A tensor of more than
/// two extents is treated as its first × the rest (PyTorch factors the last two).
/// A matrix with one row or one column is a vector. The state is rows + columns floats for a matrix and one
/// float per element for a vector.
/// The step does not depend on the scale of the gradients between the published guards and 2⁴⁶. The guards
/// are a mean square above eps1 for a matrix and above eps1² for a vector. It takes three sweeps, 24 B/param.
/// Inner only: t^beta2_decay comes from the C library, so it is not replicated. With the same value of it,
/// bits are the same on every executor.
struct adafactor {
  float lr = 1e-2f;
  float beta2_decay = -0.8f;  ///< the newest moments have weight step^beta2_decay
  float eps1 = 0x1p-23f;      ///< lower bound of √V and of the mean of the row statistics
  float eps2 = 1e-3f;         ///< lower bound of RMS(θ)
  float d = 1.0f, weight_decay = 0.0f;

  static constexpr std::string_view name = "adafactor";
  static constexpr std::array<std::string_view, 0> slots{};
  static constexpr optimizer_traits traits{.memory = true};
  static constexpr std::size_t memory_elements(std::size_t rows, std::size_t columns) {
    detail::adafactor_tiling const at(rows, columns);
    return at.vector ? at.columns : at.rows + at.columns;
  }
  static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t columns) {
    return detail::adafactor_scratch(rows, columns).size;
  }

  template <executor E>
  void step(E const& where, tensor_step<0> const& t) const {
    detail::adafactor_tiling const at(t.rows, t.columns);
    if (at.rows * at.columns == 0) return;
    detail::adafactor_scratch const in(t.rows, t.columns);
    float *const row_parts = t.scratch + in.row_parts, *const column_parts = t.scratch + in.column_parts;
    float *const parts = t.scratch + in.tile_parts, *const column = t.memory,
                 *const row = t.memory + at.columns;
    auto* const numbers = reinterpret_cast<detail::adafactor_numbers*>(t.scratch + in.numbers);
    auto const count = static_cast<double>(t.context.step),
               rate = static_cast<double>(lr) * static_cast<double>(t.context.lr_scale);
    auto const weight = static_cast<float>(std::pow(count, static_cast<double>(beta2_decay)));
    double const bound = 1.0 / std::sqrt(count);
    auto const rho = static_cast<float>(rate < bound ? rate : bound);
    auto const keep = static_cast<float>(std::fma(-rate, static_cast<double>(weight_decay), 1.0));
    auto const rows = static_cast<float>(at.rows), columns = static_cast<float>(at.columns);

    where.for_each(at.tiles(), detail::adafactor_square_kernel{at, t.g, t.grad_scale, t.p, row_parts,
                                                               column_parts, parts});
    where.for_each(
        detail::tensor_tiles(at.columns),
        detail::adafactor_statistic_kernel{column_parts, column, at.panels, at.columns, rows, weight});
    if (!at.vector)
      where.for_each(detail::tensor_tiles(at.rows),
                     detail::adafactor_statistic_kernel{row_parts, row, at.blocks, at.rows, columns, weight});
    where.for_each(1, detail::adafactor_alpha_kernel{at, row, parts, numbers, eps1, eps2, rho});
    detail::adafactor_update_kernel update{at,  t.g,   t.grad_scale,        row,  column, numbers,
                                           t.p, parts, product(eps1, eps1), keep, true};
    where.for_each(at.tiles(), update);
    where.for_each(1, detail::adafactor_factor_kernel{at, parts, numbers, d});
    update.measure = false;
    where.for_each(at.tiles(), update);
  }

  /// 2⁴⁶: sums of 2³⁴ squares stay finite.
  [[nodiscard]] constexpr float largest() const { return 0x1p46f; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta2_decay", beta2_decay, range{-1, 0});
    f("eps1", eps1, range{1e-18, 1});  // its square is a normal float
    f("eps2", eps2, non_negative);
    f("d", d, positive);
    f("weight_decay", weight_decay, non_negative);
  }
  friend bool operator==(adafactor const&, adafactor const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
