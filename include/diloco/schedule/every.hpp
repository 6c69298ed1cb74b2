// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/schedule.hpp>
#include <diloco/core/field.hpp>

#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A round after every H inner steps (H optimizer steps, not micro-batches), communicated at once.
struct every {
  long inner_steps = 500;  // H

  constexpr every() = default;
  constexpr explicit every(long h) : inner_steps(h) {}
  static constexpr std::string_view name = "every";
  [[nodiscard]] constexpr bool due(std::uint64_t steps) const {
    return steps % static_cast<std::uint64_t>(inner_steps) == 0;
  }
  [[nodiscard]] std::string describe() const { return say({"every ", inner_steps}); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("inner_steps", inner_steps, range{1, unbounded});
  }
  friend bool operator==(every const&, every const&) = default;
};

/// No rounds of its own: the caller says when, with `launch`, `land` or `sync`.
struct manual {
  static constexpr std::string_view name = "manual";
  [[nodiscard]] constexpr bool due(std::uint64_t) const { return false; }
  [[nodiscard]] std::string describe() const { return "manual"; }
  friend bool operator==(manual const&, manual const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
