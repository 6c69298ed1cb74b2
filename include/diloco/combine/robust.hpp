// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/combine/weighted_mean.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Sorts v[0][i] … v[n−1][i] for each i, by odd-even transposition: n·(n−1)/2 minima and maxima of whole
/// arrays, which vectorize.
DILOCO_HD inline void sort_each(float* const* v, int n, int size) {
  for (int pass = 0; pass < n; ++pass) {
    for (int k = pass & 1; k + 1 < n; k += 2) {
      float* DILOCO_RESTRICT a = v[k];
      float* DILOCO_RESTRICT b = v[k + 1];
      for (int i = 0; i < size; ++i) {
        float const x = a[i], y = b[i];
        a[i] = y < x ? y : x;
        b[i] = y < x ? x : y;
      }
    }
  }
}

/// g ← mean of v[first] … v[last], summed in this order. Each is divided first, so that the sum of finite
/// values is finite.
DILOCO_HD inline void mean_of(float* const* v, int first, int last, int size, float* DILOCO_RESTRICT g) {
  float const share = 1.0f / static_cast<float>(last - first + 1);
  for (int i = 0; i < size; ++i) g[i] = share * v[first][i];
  for (int k = first + 1; k <= last; ++k) {
    float const* DILOCO_RESTRICT a = v[k];
    for (int i = 0; i < size; ++i) g[i] = fma(share, a[i], g[i]);
  }
}

}  // namespace detail

/// The mean of each element without its `drop` least and `drop` greatest values (Yin et al. 2018, arXiv
/// 1803.01498). As many broken or hostile workers cannot move it beyond the others. Of fewer than 2·drop + 1
/// contributions one or two stay. All weights above 0 count the same. The order of ranks does not matter.
/// With scatter-gather the owner of a shard applies the rule, so a hostile owner can still spoil its shard.
struct trimmed_mean {
  int drop = 1;

  static constexpr std::string_view name = "trimmed_mean";
  static constexpr combine_traits traits{.sees_each = true};
  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    return weighted_mean{}.coefficients(weights, out);
  }
  DILOCO_HD void block(float* const* v, int n, int size, float* g) const {
    int const most = (n - 1) / 2, f = drop < most ? drop : most;
    detail::sort_each(v, n, size);
    detail::mean_of(v, f, n - 1 - f, size, g);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("drop", drop, range{1, (max_seen_contributors - 1) / 2});
  }
  friend bool operator==(trimmed_mean const&, trimmed_mean const&) = default;
};

/// The median of each element; of an even number, the mean of the two in the middle. The rest as under
/// trimmed_mean.
struct coordinate_median {
  static constexpr std::string_view name = "coordinate_median";
  static constexpr combine_traits traits{.sees_each = true};
  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    return weighted_mean{}.coefficients(weights, out);
  }
  DILOCO_HD void block(float* const* v, int n, int size, float* g) const {
    detail::sort_each(v, n, size);
    detail::mean_of(v, (n - 1) / 2, n / 2, size, g);
  }
  friend bool operator==(coordinate_median const&, coordinate_median const&) = default;
};

/// The sign that more contributions have: 1, −1, or 0 where as many are positive as negative. Zeros do not
/// vote. For compressors of signs (signSGD with majority vote, Bernstein et al. 2018, arXiv 1810.05291;
/// Distributed Lion). The outer learning rate is then the size of each step.
struct majority {
  static constexpr std::string_view name = "majority";
  static constexpr combine_traits traits{.sees_each = true};
  bool coefficients(std::span<double const> weights, std::span<float> out) const {
    return weighted_mean{}.coefficients(weights, out);
  }
  DILOCO_HD void block(float* const* v, int n, int size, float* DILOCO_RESTRICT g) const {
    for (int i = 0; i < size; ++i) g[i] = 0.0f;
    for (int k = 0; k < n; ++k) {
      float const* DILOCO_RESTRICT a = v[k];
      for (int i = 0; i < size; ++i) g[i] = g[i] + sign_of(a[i]);
    }
    for (int i = 0; i < size; ++i) g[i] = sign_of(g[i]);
  }
  friend bool operator==(majority const&, majority const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
