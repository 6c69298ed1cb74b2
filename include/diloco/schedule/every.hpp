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
  static constexpr schedule_traits traits{};
  static constexpr fragment_cut cut{};
  [[nodiscard]] static constexpr int fragments() { return 1; }
  [[nodiscard]] constexpr double rounds_per_step() const { return 1.0 / static_cast<double>(inner_steps); }
  [[nodiscard]] constexpr action_list after(std::uint64_t steps) const {
    if (steps % static_cast<std::uint64_t>(inner_steps) != 0) return {};
    return {{action::launch, 0}, {action::land, 0}};
  }
  [[nodiscard]] std::string describe() const { return say({"every ", inner_steps}); }

  template <class F>
  constexpr void fields(F&& f) const {
    f("inner_steps", inner_steps, range{1, unbounded});
  }
  friend bool operator==(every const&, every const&) = default;
};

/// No rounds of its own: the caller says when, with `launch`, `land` or `sync`, and for which part of the
/// model.
struct manual {
  int parts = 1;  ///< fragments of the model
  fragment_cut cut = sequential;

  constexpr manual() = default;
  constexpr explicit manual(int fragments, fragment_cut c = sequential) : parts(fragments), cut(c) {}
  static constexpr std::string_view name = "manual";
  static constexpr schedule_traits traits{};
  [[nodiscard]] constexpr int fragments() const { return parts; }
  [[nodiscard]] static constexpr double rounds_per_step() { return 0; }
  [[nodiscard]] static constexpr action_list after(std::uint64_t) { return {}; }
  [[nodiscard]] std::string describe() const {
    return parts == 1 ? "manual" : say({"manual, ", parts, " fragments"});
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("fragments", parts, range{1, max_fragments});
    f("cut", cut.how, range{0, 2});
  }
  friend bool operator==(manual const&, manual const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
