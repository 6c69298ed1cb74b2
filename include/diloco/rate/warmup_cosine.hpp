// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/learning_rate.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Linear from 1/warmup to 1 over `warmup` steps, then half a cosine down to `last` at step `total`. From
/// there on it is `last` (Loshchilov & Hutter 2017, without restarts). Computed in double.
struct warmup_cosine {
  std::uint64_t warmup = 0, total = 0;
  float last = 0.0f;

  static constexpr std::string_view name = "warmup_cosine";
  static constexpr rate_traits traits{};
  [[nodiscard]] float factor(std::uint64_t step) const {
    double const t = static_cast<double>(step), up = static_cast<double>(warmup),
                 end = static_cast<double>(total);
    if (step < warmup) return static_cast<float>(t / up);
    if (step >= total) return last;
    double const cosine = std::cos(3.14159265358979323846 * ((t - up) / (end - up)));
    return static_cast<float>(static_cast<double>(last) +
                              (1.0 - static_cast<double>(last)) * 0.5 * (1.0 + cosine));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("warmup", warmup, range{0, 9007199254740992.0});  // a double counts exactly up to 2⁵³
    f("total", total, range{static_cast<double>(warmup), 9007199254740992.0, true});
    f("last", last, zero_to_one);
  }
  friend bool operator==(warmup_cosine const&, warmup_cosine const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
