// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/learning_rate.hpp>
#include <diloco/core/field.hpp>

#include <cmath>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Linear from 1/warmup to 1 over `warmup` steps, then 1 until `decay` steps before `total`. Then linear down
/// to `last` at step `total` (Hu et al. 2024; Hägele et al. 2024). Computed in double.
struct warmup_stable_decay {
  std::uint64_t warmup = 0, decay = 1, total = 0;
  float last = 0.0f;

  static constexpr std::string_view name = "warmup_stable_decay";
  static constexpr rate_traits traits{.replicated = true};
  [[nodiscard]] float factor(std::uint64_t step) const {
    double const t = static_cast<double>(step), down = static_cast<double>(decay),
                 end = static_cast<double>(total);
    if (step < warmup) return static_cast<float>(t / static_cast<double>(warmup));
    if (step >= total) return last;
    if (t <= end - down) return 1.0f;
    double const low = static_cast<double>(last);
    return static_cast<float>(std::fma(1.0 - low, (end - t) / down, low));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("warmup", warmup, range{0, 9007199254740992.0});  // a double counts exactly up to 2⁵³
    f("decay", decay, range{1, 9007199254740992.0});
    f("total", total, range{static_cast<double>(warmup) + static_cast<double>(decay), 9007199254740992.0});
    f("last", last, zero_to_one);
  }
  friend bool operator==(warmup_stable_decay const&, warmup_stable_decay const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
