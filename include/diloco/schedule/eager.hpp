// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/schedule.hpp>
#include <diloco/core/field.hpp>

#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Eager updates (Kale, Douillard and Donchev 2025, arXiv 2502.12996). A round begins after every H steps,
/// and its messages may take all of the next H steps. The outer step after step kH combines
///   Δ̂ᵢ = Δ̄(k−1) + (Δᵢ(k) − Δᵢ(k−1)) / K
/// with the number K of ranks, the mean Δ̄(k−1) of the round before, and what this worker says, Δᵢ. So a
/// worker's own steps count at once, and those of the others one round later.
/// Anchors and outer state differ between ranks. `sync()` lands the open round. Without outer momentum the
/// anchors are then equal, but for rounding.
/// Costs a second buffer for messages. With one worker it is `every(H)`, bit for bit.
/// Needs `gather`, a compressor of blocks, and a linear combine rule.
struct eager {
  long inner_steps = 100;  // H

  constexpr eager() = default;
  constexpr explicit eager(long h) : inner_steps(h) {}
  static constexpr std::string_view name = "eager";
  static constexpr schedule_traits traits{.eager = true};
  static constexpr fragment_cut cut{};
  [[nodiscard]] static constexpr int fragments() { return 1; }
  [[nodiscard]] constexpr double rounds_per_step() const { return 1.0 / static_cast<double>(inner_steps); }
  [[nodiscard]] constexpr action_list after(std::uint64_t steps) const {
    if (steps % static_cast<std::uint64_t>(inner_steps) != 0) return {};
    return {{action::land_and_launch, 0}};
  }
  [[nodiscard]] std::string describe() const {
    return say({"eager, every ", inner_steps, ", landed ", inner_steps, " later, own steps at once"});
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("inner_steps", inner_steps, range{1, unbounded});
  }
  friend bool operator==(eager const&, eager const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
