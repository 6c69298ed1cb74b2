// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/signal.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Δ = θ̄ − θ: what the inner steps since the last round did (DiLoCo).
struct pseudo_gradient {
  static constexpr std::string_view name = "pseudo_gradient";
  static constexpr signal_traits traits{};
  friend bool operator==(pseudo_gradient const&, pseudo_gradient const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
