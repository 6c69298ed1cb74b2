// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/linear_algebra.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>
#include <diloco/optimizer/detail/tensor_tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The length of Muon's step. Rows are the outputs of the layer (PyTorch's layout of a weight).
enum class muon_scaling {
  original,   ///< √max(1, rows / columns)
  match_rms,  ///< 0.2·√max(rows, columns): elements move as under AdamW (Liu et al. 2025)
  spectral    ///< √(rows / columns)
};
/// The five polynomials a·X + b·X·Xᵀ·X + c·(X·Xᵀ)²·X. Both choices amplify small singular values strongly.
/// These end near 1, not at 1.
enum class muon_coefficients {
  keller,  ///< the same for all five: σ/‖X‖ of 0.0015 or more ends in [0.68, 1.21]
  dion     ///< five different ones: σ/‖X‖ of 0.01 or more ends in [0.97, 1.15]
};
/// The momentum: m ← m + (1 − μ)·(g − m), or m ← μ·m + g. The direction of the step is the same.
enum class muon_average { lerp, sum };

namespace detail {

struct cubic {
  float a, b, c;
};
constexpr cubic muon_polynomial(muon_coefficients which, int i) {
  constexpr cubic dion[] = {{4.0848f, -6.8946f, 2.9270f},
                            {3.9505f, -6.3029f, 2.6377f},
                            {3.7418f, -5.5913f, 2.3037f},
                            {2.8769f, -3.1427f, 1.2046f},
                            {2.8366f, -3.0525f, 1.2012f}};
  return which == muon_coefficients::dion ? dion[i] : cubic{3.4445f, -4.7750f, 2.0315f};
}

/// Largest magnitude and Σ (X·unit_of(largest))² of one tile of X or of all. The unit keeps squares in range
/// at any scale of the gradients. It is a power of two, so it changes no bit of the sum.
struct muon_norm {
  std::uint32_t largest;
  float sum;
};

/// Updates m and computes X, the matrix to make orthogonal, with the norm of each tile.
struct muon_momentum_kernel {
  float const *g, *grad_scale;
  float *m, *x;
  muon_norm* parts;  // (tiles)
  std::size_t elements;
  float momentum;
  bool nesterov, lerp;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float const* const from = g + r.begin;
    float* DILOCO_RESTRICT const mean = m + r.begin;
    float* DILOCO_RESTRICT const to = x + r.begin;
    float const scale = *grad_scale;
    std::uint32_t most = 0;
    for_lanes(l, r.count, [&](std::size_t i) {
      float const grad = product(from[i], scale), next = average(mean[i], grad);
      mean[i] = next;
      to[i] = nesterov ? average(next, grad) : next;
      most = larger(most, magnitude_bits(to[i]));
    });
    most = L::max(most);
    float const unit = unit_of(most);
    float const sum = ordered_sum(l, r.count, [&](std::size_t i) {
      float const x_i = product(to[i], unit);
      return product(x_i, x_i);
    });
    if (L::rank() == 0) parts[tile] = {most, sum};
  }
  [[nodiscard]] DILOCO_HD float average(float mean, float grad) const {
    return lerp ? fma(1.0f - momentum, grad - mean, mean) : fma(momentum, mean, grad);
  }
};

/// Joins the norms of all tiles into one. Runs over one index.
struct muon_norm_kernel {
  muon_norm const* parts;
  std::size_t n;
  muon_norm* all;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    std::uint32_t most = 0;
    for_lanes(l, n, [&](std::size_t i) { most = larger(most, parts[i].largest); });
    most = L::max(most);
    float const unit = unit_of(most);
    float const sum = ordered_sum(l, n, [&](std::size_t i) {
      float const to_unit = unit / unit_of(parts[i].largest);
      return product(product(parts[i].sum, to_unit), to_unit);
    });
    if (L::rank() == 0) *all = {most, sum};
  }
};

/// X ← X / ‖X‖, where X = 0 stays 0. The published guard, max(‖X‖, 10⁻⁷), would shrink the step under small
/// gradients.
struct muon_normalize_kernel {
  float* x;
  muon_norm const* norm;
  std::size_t elements;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t tile) const {
    tile_range const r(tile, elements);
    float* DILOCO_RESTRICT const to = x + r.begin;
    float const unit = unit_of(norm->largest), divisor = norm->largest == 0 ? 1.0f : std::sqrt(norm->sum);
    for_lanes(l, r.count, [&](std::size_t i) { to[i] = product(to[i], unit) / divisor; });
  }
};

/// B ← A + shift·I. One index is one row.
struct muon_shift_kernel {
  float const* a;
  float* b;
  std::size_t side;
  float shift;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t row) const {
    float const* const from = a + row * side;
    float* DILOCO_RESTRICT const to = b + row * side;
    for_lanes(l, side, [&](std::size_t i) { to[i] = i == row ? from[i] + shift : from[i]; });
  }
};

/// Layout of one tensor's scratch.
struct muon_scratch {
  std::size_t x = 0, other, a, b, parts, sum, size;
  constexpr muon_scratch(std::size_t rows, std::size_t columns) {
    std::size_t const side = rows < columns ? rows : columns, square = whole_lines(side * side);
    other = whole_lines(rows * columns);
    a = 2 * other;
    b = a + square;
    parts = b + square;
    sum = parts + whole_lines(tensor_tiles(rows * columns) * sizeof(muon_norm) / sizeof(float));
    size = sum + 16;
  }
};

}  // namespace detail

/// Orthogonalized momentum (Jordan et al. 2024): X = five Newton–Schulz steps on u / ‖u‖, where u is the
/// momentum or Nesterov's form of it. Then θ ← (1 − lr·weight_decay)·θ − lr·scale·X. It is for hidden
/// matrices: embeddings, heads and vectors need another optimizer.
/// The step does not depend on the scale of the gradients, from 2⁻¹²⁰ to 2¹²⁰. A tensor of more than two
/// extents is treated as its first × the rest. Inner only: the products come from `Algebra`, whose bits
/// depend on the machine, so it is not replicated.
/// X is float32. The published code uses bfloat16 for tensor cores, which moves X by 1e-2. So the bits of
/// each step differ from it, but not the range of X's singular values.
/// Cost: 5·s²·(1.5·l + 0.5·s) multiply-adds for sides s ≤ l, where `gram` computes one half of a product. Two
/// sweeps are added, 24 B/param. a·X and the step itself are part of the products. From 256² to 1024 × 4096 a
/// step takes at most 4 % more time than its products.
template <class Algebra>
struct muon {
  static_assert(linear_algebra<Algebra>,
                "diloco: muon: its algebra needs name, multiply and gram; see diloco::eigen");
  float lr = 0.02f, momentum = 0.95f;
  bool nesterov = true;
  float weight_decay = 0.0f;
  muon_scaling scaling = muon_scaling::original;
  muon_coefficients coefficients = muon_coefficients::keller;
  muon_average average = muon_average::lerp;
  Algebra algebra{};

  static constexpr std::string_view name = "muon";
  static constexpr std::array<std::string_view, 1> slots{"momentum"};
  static constexpr optimizer_traits traits{.shapes = true};
  static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t columns) {
    return detail::muon_scratch(rows, columns).size;
  }
  static constexpr std::string_view shape_error(std::span<std::size_t const> shape) {
    if (shape.size() < 2) return "needs a matrix; give vectors another optimizer, such as adamw";
    for (std::size_t const extent : shape) {
      if (extent == 0) return "needs a matrix with elements; leave a tensor without any out";
    }
    return {};
  }

  template <executor E>
  void step(E const& where, tensor_step<1> const& t) const {
    detail::muon_scratch const at(t.rows, t.columns);
    std::size_t const elements = t.rows * t.columns, tiles = detail::tensor_tiles(elements);
    float* const x = t.scratch + at.x;
    auto* const parts = reinterpret_cast<detail::muon_norm*>(t.scratch + at.parts);
    auto* const norm = reinterpret_cast<detail::muon_norm*>(t.scratch + at.sum);
    where.for_each(tiles, detail::muon_momentum_kernel{t.g, t.grad_scale, t.slots[0], x, parts, elements,
                                                       momentum, nesterov, average == muon_average::lerp});
    where.for_each(1, detail::muon_norm_kernel{parts, tiles, norm});
    where.for_each(tiles, detail::muon_normalize_kernel{x, norm, elements});
    orthogonalize(where, t, at);
  }

  /// Bound of the momentum. X itself is scaled before it is squared.
  [[nodiscard]] constexpr float largest() const {
    return detail::float_within(average == muon_average::lerp ? unbounded / 2
                                                              : detail::largest_to_sum(momentum, 0.0f));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
    f("nesterov", nesterov, zero_to_one);
    f("weight_decay", weight_decay, non_negative);
    f("scaling", static_cast<int>(scaling), range{0, 2});
    f("coefficients", static_cast<int>(coefficients), zero_to_one);
    f("average", static_cast<int>(average), zero_to_one);
  }
  friend bool operator==(muon const&, muon const&) = default;

  [[nodiscard]] double scale(std::size_t rows, std::size_t columns) const {
    auto const r = static_cast<double>(rows), c = static_cast<double>(columns);
    if (scaling == muon_scaling::match_rms) return 0.2 * std::sqrt(r > c ? r : c);
    return std::sqrt(scaling == muon_scaling::original && r < c ? 1.0 : r / c);
  }

 private:
  /// X ← (a·I + b·A + c·A²)·X with A = X·Xᵀ, or the same from the right with A = Xᵀ·X where that is smaller.
  /// The last product writes into the parameters.
  template <class E>
  void orthogonalize(E const& where, tensor_step<1> const& t, detail::muon_scratch const& at) const {
    bool const tall = t.rows > t.columns;
    std::size_t const side = tall ? t.columns : t.rows, depth = tall ? t.rows : t.columns;
    float *const a = t.scratch + at.a, *const b = t.scratch + at.b;
    float *x = t.scratch + at.x, *other = t.scratch + at.other;
    double const rate = static_cast<double>(lr) * static_cast<double>(t.context.lr_scale);
    for (int i = 0; i < 5; ++i) {
      detail::cubic const by = detail::muon_polynomial(coefficients, i);
      algebra.gram(where, gram_product{side, depth, {x, tall}, a});
      where.for_each(side, detail::muon_shift_kernel{a, b, side, by.a / by.b});
      algebra.gram(where, gram_product{side, side, {a}, b, by.c, by.b});
      matrix_product next{t.rows, t.columns, side, {tall ? x : b}, {tall ? b : x}, other};
      if (i == 4) {
        next.c = t.p;
        next.alpha = static_cast<float>(-rate * scale(t.rows, t.columns));
        next.beta = static_cast<float>(std::fma(-rate, static_cast<double>(weight_decay), 1.0));
      }
      algebra.multiply(where, next);
      std::swap(x, other);
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
