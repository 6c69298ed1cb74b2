// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/learning_rate.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The factor is always 1.
struct constant_rate {
  static constexpr std::string_view name = "constant_rate";
  static constexpr rate_traits traits{.constant = true, .replicated = true};
  [[nodiscard]] float factor(std::uint64_t) const { return 1.0f; }

  friend bool operator==(constant_rate const&, constant_rate const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
