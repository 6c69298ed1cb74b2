// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// No inner optimizer: `step(gradients)` only sends. For signals that are made of the gradient.
struct none {
  static constexpr std::string_view name = "none";
  static constexpr bool steps_nothing = true;
  static constexpr std::array<std::string_view, 0> slots{};
  friend bool operator==(none const&, none const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
