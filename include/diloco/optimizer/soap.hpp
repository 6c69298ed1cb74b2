// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/linear_algebra.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>
#include <diloco/optimizer/detail/tensor_tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// X ← g·scale.
struct soap_gradient_kernel {
  float const *g, *grad_scale;
  float* x;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float const* const from = g + r.begin;
    float* DILOCO_RESTRICT const to = x + r.begin;
    float const scale = *grad_scale;
    for_lanes(l, r.count, [&](std::size_t i) { to[i] = product(from[i], scale); });
  }
};

/// Updates Adam's moments with the gradient in the eigenbasis, and replaces the gradient by m / (√v + eps).
struct soap_moments_kernel {
  float *m, *v, *x;
  std::size_t elements;
  float beta1, beta2, eps;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float* DILOCO_RESTRICT const mean = m + r.begin;
    float* DILOCO_RESTRICT const square = v + r.begin;
    float* DILOCO_RESTRICT const to = x + r.begin;
    for_lanes(l, r.count, [&](std::size_t i) {
      float const g = to[i];
      mean[i] = fma(1.0f - beta1, g - mean[i], mean[i]);
      square[i] = fma((1.0f - beta2) * g, g, beta2 * square[i]);
      to[i] = mean[i] / (std::sqrt(square[i]) + eps);
    });
  }
};

/// to ← beta·to + alpha·x, in place of a matrix product where a tensor has no basis. With beta = 0 it only
/// writes.
struct soap_apply_kernel {
  float const* x;
  float* to;
  std::size_t elements;
  float alpha, beta;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float const* const from = x + r.begin;
    float* DILOCO_RESTRICT const out = to + r.begin;
    if (beta == 0.0f)
      for_lanes(l, r.count, [&](std::size_t i) { out[i] = product(alpha, from[i]); });
    else
      for_lanes(l, r.count, [&](std::size_t i) { out[i] = fma(alpha, from[i], product(beta, out[i])); });
  }
};

/// The diagonal of Qᵀ·(S·Q), computed for each column of Q. It estimates the eigenvalues.
struct soap_estimate_kernel {
  float const *q, *sq;
  float* estimate;
  std::size_t side;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, side);
    float* DILOCO_RESTRICT const sum = estimate + r.begin;
    for_lanes(l, r.count, [&](std::size_t i) { sum[i] = 0.0f; });
    for (std::size_t row = 0; row < side; ++row) {
      float const *const a = q + row * side + r.begin, *const b = sq + row * side + r.begin;
      for_lanes(l, r.count, [&](std::size_t i) { sum[i] = fma(a[i], b[i], sum[i]); });
    }
  }
};

/// The new place of each column: the largest estimate first, equal estimates in their old order. A tile is 64
/// columns.
struct soap_rank_kernel {
  static constexpr std::size_t run = 64;
  float const* estimate;
  std::uint32_t* rank;
  std::size_t side;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    std::size_t const begin = tile * run, count = side - begin < run ? side - begin : run;
    for_lanes(l, count, [&](std::size_t k) {
      std::size_t const i = begin + k;
      float const own = estimate[i];
      std::uint32_t before = 0;
      for (std::size_t j = 0; j < side; ++j)
        before += estimate[j] > own || (j < i && !(estimate[j] < own)) ? 1u : 0u;
      rank[i] = before;
    });
  }
};

/// Moves rows and columns to the places given by their ranks; nullptr leaves them in place. One index is one
/// row.
struct soap_permute_kernel {
  float const* from;
  float* to;
  std::size_t columns;
  std::uint32_t const *row_rank, *column_rank;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t row) const {
    float const* const x = from + row * columns;
    float* const y = to + (row_rank == nullptr ? row : row_rank[row]) * columns;
    if (column_rank == nullptr)
      for_lanes(l, columns, [&](std::size_t i) { y[i] = x[i]; });
    else
      for_lanes(l, columns, [&](std::size_t i) { y[column_rank[i]] = x[i]; });
  }
};

/// One side of a tensor: the mean S of G·Gᵀ (or Gᵀ·G), and its eigenvectors as the columns of Q.
struct soap_side {
  std::size_t extent = 0;
  std::size_t s = 0, q = 0;  ///< offsets in the memory
  std::size_t rank = 0;      ///< offset in the scratch
  [[nodiscard]] constexpr bool turned() const { return extent != 0; }
};

/// Layout of one tensor's memory and scratch.
struct soap_layout {
  soap_side left, right;
  std::size_t memory = 0, scratch = 0, x = 0, y = 0, z = 0, square = 0, sorted = 0, estimate = 0;
  constexpr soap_layout(std::size_t rows, std::size_t columns, std::size_t longest) {
    bool const matrix = columns > 1;
    left.extent = matrix && rows <= longest ? rows : 0;
    right.extent = matrix && columns <= longest ? columns : 0;
    soap_side* const sides[] = {&left, &right};
    for (soap_side* const side : sides) {
      side->s = take(memory, side->extent * side->extent);
      side->q = take(memory, side->extent * side->extent);
      side->rank = take(scratch, side->extent);
    }
    std::size_t const most = left.extent > right.extent ? left.extent : right.extent;
    x = take(scratch, rows * columns);
    y = take(scratch, rows * columns);
    z = take(scratch, rows * columns);
    square = take(scratch, most * most);
    sorted = take(scratch, most * most);
    estimate = take(scratch, most);
  }

 private:
  static constexpr std::size_t take(std::size_t& end, std::size_t elements) {
    std::size_t const begin = end;
    end += whole_lines(elements);
    return begin;
  }
};

}  // namespace detail

/// Adam in the eigenbasis of Shampoo's preconditioners (Vyas et al. 2024), in the order of its reference
/// implementation. Step 1 initializes the bases and moves nothing. Later steps rotate the gradient, keep
/// Adam's moments in the rotated basis, step and decay. Only then do they add this gradient to the means.
/// Every `frequency` steps, one power iteration and a QR update the bases. m is rotated with them; v is only
/// reordered. Sides beyond 10,000 have no basis, and a vector has none. A tensor of more than two extents is
/// treated as its first × the rest.
/// Inner only: the bits of its algebra depend on the machine, so it is not replicated. The bases do not
/// depend on the scale of the gradients. The step does where √v nears eps, as published. Squares must be
/// finite, so elements are in [2⁻⁵⁰, 2⁴⁶].
/// Memory: 2·(rows² + columns²) floats beside m and v. A step of r × c costs 2.5·r·c·(r + c) multiply-adds
/// where `gram` computes one half of a product.
/// A refresh costs 2·r·c·(r + c) more and about 4·(r³ + c³), with `eigen` most of these in one thread. The
/// eigenvectors of the first step cost 9·(r³ + c³).
template <class Algebra>
struct soap {
  static_assert(
      spectral_algebra<Algebra>,
      "diloco: soap: its algebra needs eigenvectors and orthonormalize beside products; see diloco::eigen");
  float lr = 3e-3f, beta1 = 0.95f, beta2 = 0.95f, eps = 1e-8f, weight_decay = 0.01f;
  std::uint32_t frequency = 10;
  Algebra algebra{};

  static constexpr std::size_t longest_side = 10000;
  static constexpr std::string_view name = "soap";
  static constexpr std::array<std::string_view, 2> slots{"m", "v"};
  static constexpr optimizer_traits traits{.memory = true};
  static constexpr std::size_t memory_elements(std::size_t rows, std::size_t columns) {
    return detail::soap_layout(rows, columns, longest_side).memory;
  }
  static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t columns) {
    return detail::soap_layout(rows, columns, longest_side).scratch;
  }

  template <executor E>
  void step(E const& where, tensor_step<2> const& t) const {
    stepped<E> const on{where, t, detail::soap_layout(t.rows, t.columns, longest_side), algebra};
    std::size_t const elements = t.rows * t.columns, tiles = detail::tensor_tiles(elements);
    float *const g = t.scratch + on.at.x, *const turned = t.scratch + on.at.z;
    where.for_each(tiles, detail::soap_gradient_kernel{t.g, t.grad_scale, g, elements});
    if (t.first) return start(on, g);

    on.turn(g, turned);
    where.for_each(tiles,
                   detail::soap_moments_kernel{t.slots[0], t.slots[1], turned, elements, beta1, beta2, eps});
    std::uint64_t const updates = t.context.step - 1;
    double const rate = static_cast<double>(lr) * static_cast<double>(t.context.lr_scale);
    double const correction1 = 1.0 - integer_power(static_cast<double>(beta1), updates);
    double const correction2 = 1.0 - integer_power(static_cast<double>(beta2), updates);
    double const keep = std::fma(-rate, static_cast<double>(weight_decay), 1.0);
    on.turn_back(turned, t.p, static_cast<float>(-keep * rate * std::sqrt(correction2) / correction1),
                 static_cast<float>(keep));
    on.average(g, 1.0f - beta2, beta2);
    if (updates % frequency == 0) refresh(on);
  }

  /// 2⁴⁶: one rotated element may be as long as the whole gradient, and 2³⁴ squares must be finite.
  [[nodiscard]] constexpr float largest() const { return 0x1p46f; }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, below_one);
    f("beta2", beta2, below_one);
    f("eps", eps, positive);
    f("weight_decay", weight_decay, non_negative);
    f("frequency", frequency, range{1, 1000000});
  }
  friend bool operator==(soap const&, soap const&) = default;

 private:
  /// The tensor of this step, with the products that the step uses.
  template <class E>
  struct stepped {
    E const& where;
    tensor_step<2> const& t;
    detail::soap_layout at;
    Algebra const& algebra;

    [[nodiscard]] float* s(detail::soap_side const& side) const { return t.memory + side.s; }
    [[nodiscard]] float* q(detail::soap_side const& side) const { return t.memory + side.q; }
    [[nodiscard]] std::uint32_t* rank(detail::soap_side const& side) const {
      return reinterpret_cast<std::uint32_t*>(t.scratch + side.rank);
    }
    void left(operand by, float const* x, float* to, float alpha, float beta) const {
      algebra.multiply(where, matrix_product{t.rows, t.columns, t.rows, by, {x}, to, alpha, beta});
    }
    void right(operand by, float const* x, float* to, float alpha, float beta) const {
      algebra.multiply(where, matrix_product{t.rows, t.columns, t.columns, {x}, by, to, alpha, beta});
    }
    /// to ← alpha·(x multiplied by the left and the right basis) + beta·to. `back` selects which of the two
    /// factors is transposed. Uses the scratch `y`.
    void both(bool back, float const* x, float* to, float alpha, float beta) const {
      std::size_t const elements = t.rows * t.columns;
      bool const l = at.left.turned(), r = at.right.turned();
      float* const between = t.scratch + at.y;
      if (l) left({q(at.left), !back}, x, r ? between : to, r ? 1.0f : alpha, r ? 0.0f : beta);
      if (r) right({q(at.right), back}, l ? between : x, to, alpha, beta);
      if (!l && !r)
        where.for_each(detail::tensor_tiles(elements),
                       detail::soap_apply_kernel{x, to, elements, alpha, beta});
    }
    void turn(float const* x, float* to) const { both(false, x, to, 1.0f, 0.0f); }
    void turn_back(float const* x, float* to, float alpha, float beta) const {
      both(true, x, to, alpha, beta);
    }
    void average(float const* g, float newest, float keep) const {
      if (at.left.turned())
        algebra.gram(where, gram_product{t.rows, t.columns, {g}, s(at.left), newest, keep});
      if (at.right.turned())
        algebra.gram(where, gram_product{t.columns, t.rows, {g, true}, s(at.right), newest, keep});
    }
  };

  template <class E>
  void start(stepped<E> const& on, float const* g) const {
    on.average(g, 1.0f - beta2, 0.0f);
    // Without a basis no mean takes in a NaN of g, so m does: it becomes 0·g.
    if (!on.at.left.turned() && !on.at.right.turned()) {
      std::size_t const n = on.t.rows * on.t.columns;
      on.where.for_each(detail::tensor_tiles(n), detail::soap_apply_kernel{g, on.t.slots[0], n, 0.0f, 0.0f});
    }
    detail::soap_side const sides[] = {on.at.left,
                                       // The array has a name because nvcc 13.0 fails on a loop over a braced
                                       // list.
                                       on.at.right};
    for (detail::soap_side const& side : sides) {
      if (side.turned()) algebra.eigenvectors(on.where, side.extent, on.s(side), on.q(side));
    }
  }

  template <class E>
  void refresh(stepped<E> const& on) const {
    if (!on.at.left.turned() && !on.at.right.turned()) return;
    float *const m = on.t.slots[0], *const v = on.t.slots[1];
    float *const plain = on.t.scratch + on.at.z, *const sorted = on.t.scratch + on.at.x;
    on.turn_back(m, plain, 1.0f, 0.0f);
    detail::soap_side const sides[] = {on.at.left, on.at.right};
    for (detail::soap_side const& side : sides) {
      if (side.turned()) iterate(on, side);
    }
    on.turn(plain, m);
    std::size_t const elements = on.t.rows * on.t.columns;
    on.where.for_each(on.t.rows,
                      detail::soap_permute_kernel{v, sorted, on.t.columns,
                                                  on.at.left.turned() ? on.rank(on.at.left) : nullptr,
                                                  on.at.right.turned() ? on.rank(on.at.right) : nullptr});
    on.where.for_each(detail::tensor_tiles(elements),
                      detail::soap_apply_kernel{sorted, v, elements, 1.0f, 0.0f});
  }

  /// Q ← the orthogonal factor of the QR of S·Q, with the columns sorted first.
  template <class E>
  void iterate(stepped<E> const& on, detail::soap_side const& side) const {
    std::size_t const n = side.extent;
    float *const q = on.q(side), *const sq = on.t.scratch + on.at.square,
                 *const sorted = on.t.scratch + on.at.sorted;
    float* const estimate = on.t.scratch + on.at.estimate;
    algebra.multiply(on.where, matrix_product{n, n, n, {on.s(side)}, {q}, sq, 1.0f, 0.0f});
    on.where.for_each(detail::tensor_tiles(n), detail::soap_estimate_kernel{q, sq, estimate, n});
    on.where.for_each((n + detail::soap_rank_kernel::run - 1) / detail::soap_rank_kernel::run,
                      detail::soap_rank_kernel{estimate, on.rank(side), n});
    on.where.for_each(n, detail::soap_permute_kernel{sq, sorted, n, nullptr, on.rank(side)});
    algebra.orthonormalize(on.where, n, sorted, q);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
