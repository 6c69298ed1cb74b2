// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/learning_rate.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Linear from 1/warmup to 1 over `warmup` steps, then √(warmup / step) (Vaswani et al. 2017). Computed in
/// double.
struct inverse_square_root {
  std::uint64_t warmup = 1;

  static constexpr std::string_view name = "inverse_square_root";
  static constexpr rate_traits traits{.replicated = true};
  [[nodiscard]] float factor(std::uint64_t step) const {
    double const t = static_cast<double>(step), up = static_cast<double>(warmup);
    return static_cast<float>(step < warmup ? t / up : std::sqrt(up / t));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("warmup", warmup, range{1, 9007199254740992.0});  // a double counts exactly up to 2⁵³
  }
  friend bool operator==(inverse_square_root const&, inverse_square_root const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
