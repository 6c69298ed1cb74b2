// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/ordered_sum.hpp>
#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Marks the first row that holds NaN or a value beyond some magnitude. Reads each number once and writes
/// nothing else.
template <class Rows>
struct find_non_finite_kernel {
  /// On the host one loop takes a whole tile, because each loop ends with a maximum over a register.
  template <lanes L>
  static constexpr int block = L::width > 1 ? 256 : 1 << 20;

  tile const* tiles;
  Rows rows;
  float largest_allowed;
  std::uint32_t* bad_row;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    std::uint32_t largest = 0;
    rows.of(t, [&](auto const* p) {
      for_each_piece<block<L>>(l, t, [&](int offset, auto count) {
        auto const* DILOCO_RESTRICT x = p + offset + first_element<L, block<L>>(l);
        constexpr int size = lane_elements<L, block<L>>;
        int const mine = owned_elements<L, block<L>>(l, count);
        auto const look = [&](int, auto number) {
          largest = larger(largest, magnitude_bits(as_float(number)));
        };
        if constexpr (L::width > 1) {
          if (mine == size) return in_registers<size>(look, reads{anywhere{x}});
        }
        for_first<L, size>(mine, [&](int i) { look(i, x[i]); });
      });
    });
    largest = L::max(largest);
    if (largest > bits_of(largest_allowed) && L::rank() == 0) L::atomic_min(bad_row, t.row);
  }
};

/// The rows of θ in float32.
struct theta_rows {
  float* const* rows;
  template <class F>
  DILOCO_HD void of(tile const& t, F&& f) const {
    f(static_cast<float const*>(rows[t.row]) + t.begin);
  }
};

/// The factor for the gradients and the measured norm. It lies in the memory of the columns.
struct gradient_factor {
  float factor = 1.0f;  ///< clipping × grad_scale
  float norm = 0.0f;    ///< of grad_scale · g over all tensors, before clipping
};

/// Σ g² of each tile, in double. The square of any float fits a double, so nothing overflows. The order of
/// the sum is fixed.
/// Also marks rows that are not finite. Reads 4 B/param.
struct norm_partials_kernel {
  tile const* tiles;
  gradient_rows rows;
  double* partial;         // (tiles)
  std::uint32_t* bad_row;  // null: no row is to be marked

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    double sum = 0;
    rows.of(t, [&](auto const* g) {
      sum = ordered_sum<double>(l, t.count, [=](std::size_t i) {
        double const x = static_cast<double>(as_float(g[i]));
        return x * x;  // exact
      });
    });
    if (L::rank() != 0) return;
    partial[index] = sum;
    // A sum is finite if all its terms are: 2³² squares of the largest float are far below the largest
    // double.
    if (bad_row != nullptr && !(sum < 1e300)) L::atomic_min(bad_row, t.row);
  }
};

/// Sums each 1024 partial sums. A billion parameters have 2¹⁸ of them, too many for the single warp of the
/// last sum.
struct sum_partials_kernel {
  static constexpr std::size_t group = 1024;

  double const* partial;  // (tiles)
  std::size_t tiles;
  double* out;  // (groups)

  [[nodiscard]] static constexpr std::size_t groups(std::size_t tiles) { return (tiles + group - 1) / group; }

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    double const* const from = partial + index * group;
    std::size_t const left = tiles - index * group;
    double const sum =
        ordered_sum<double>(l, left < group ? left : group, [from](std::size_t i) { return from[i]; });
    if (L::rank() == 0) out[index] = sum;
  }
};

/// Computes the factor from the partial sums, as torch.nn.utils.clip_grad_norm_ does: grad_scale · min(1,
/// clip / (norm + 1e-6)). A NaN norm gives a NaN factor. One index.
struct clip_factor_kernel {
  double const* partial;  // (groups of tiles)
  std::size_t groups;
  float grad_scale, clip_norm;
  gradient_factor* out;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    double const sum = ordered_sum<double>(l, groups, [this](std::size_t i) { return partial[i]; });
    if (L::rank() != 0) return;
    double const scale = static_cast<double>(grad_scale), length = std::sqrt(sum);
    double const share = static_cast<double>(clip_norm) / std::fma(scale, length, 1e-6);
    *out = {static_cast<float>(scale * (share >= 1.0 ? 1.0 : share)), static_cast<float>(scale * length)};
  }
};

/// The factor where there is no clipping. One index.
struct plain_factor_kernel {
  float grad_scale;
  gradient_factor* out;

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t) const {
    if (L::rank() == 0) *out = {grad_scale, 0.0f};
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
