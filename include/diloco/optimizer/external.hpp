// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// For frameworks that have their own inner optimizer. They step θ themselves and call
/// `trainer.after_step()`.
struct external {
  static constexpr std::string_view name = "external";
  static constexpr bool steps_outside = true;
  static constexpr std::array<std::string_view, 0> slots{};
  friend bool operator==(external const&, external const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
