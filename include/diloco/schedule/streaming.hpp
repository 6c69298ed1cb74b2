// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/schedule.hpp>
#include <diloco/core/field.hpp>

#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512, algorithm 2). The model is cut into fragments.
/// Each has a round every H steps, and the rounds are spread evenly: fragment p is launched at the steps t
/// with t ≡ (p+1)·H/F (mod H). The peak of what is sent at once is 1/F of that of `every`.
/// A round lands `delay` steps after its launch. Δ is measured at the launch and applied to the anchor of
/// that time. Then θ ← mix·θ + (1 − mix)·θ̄; the anchor is never mixed.
/// With one fragment and no delay it is `every(H)`, bit for bit.
struct streaming {
  long inner_steps = 100;  // H
  int parts = 4;           ///< fragments
  long delay = 1;          // τ
  /// Share of θ that is kept at a landing. 0 discards the steps that were taken during the flight. The paper
  /// takes 0.5 with two workers. With four workers of examples/gpt, 0 gave the lower loss
  /// (docs/results/main_job.md).
  float mix = 0.0f;
  fragment_cut cut = sequential;

  static constexpr std::string_view name = "streaming";
  static constexpr schedule_traits traits{};
  [[nodiscard]] constexpr int fragments() const { return parts; }
  [[nodiscard]] constexpr double rounds_per_step() const {
    return static_cast<double>(parts) / static_cast<double>(inner_steps);
  }
  /// Landings come first, so that a fragment can land and be launched after the same step.
  [[nodiscard]] constexpr action_list after(std::uint64_t steps) const {
    action_list all;
    auto const late = static_cast<std::uint64_t>(delay);
    if (delay != 0 && steps > late && launched_after(steps - late) >= 0)
      all.add({action::land, launched_after(steps - late), mix});
    if (int const now = launched_after(steps); now >= 0) {
      all.add({action::launch, now});
      if (delay == 0) all.add({action::land, now, mix});
    }
    return all;
  }
  [[nodiscard]] std::string describe() const {
    if (parts == 1 && delay == 0) return say({"every ", inner_steps});
    std::string text =
        say({"streaming ", parts, parts == 1 ? " fragment" : " fragments", ", every ", inner_steps});
    if (cut.how != fragment_cut::sequential)
      text += cut.how == fragment_cut::strided ? ", strided" : ", cut by name";
    if (delay != 0) text += say({", landed ", delay, " later, mix ", mix});
    return text;
  }

  /// What is wrong with numbers that depend on each other, or an empty text.
  [[nodiscard]] std::string validation_error() const {
    if (parts < 1 || inner_steps < 1) return {};  // said of each
    if (inner_steps % parts != 0)
      return say({"inner_steps = ", inner_steps, " must be a multiple of fragments = ", parts,
                  ", so that rounds are evenly spread"});
    if (delay >= inner_steps)
      return say({"delay = ", delay, " must be below inner_steps = ", inner_steps,
                  ", because a fragment lands before its next round"});
    if (delay == 0 && mix != 0.0f)
      return say({"mix = ", mix,
                  " keeps steps that are taken during a flight, and with delay = 0 there are none; "
                  "say mix = 0"});
    return {};
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("inner_steps", inner_steps, range{1, unbounded});
    f("fragments", parts, range{1, max_fragments});
    f("delay", delay, non_negative);
    f("mix", mix, zero_to_one);
    f("cut", cut.how, range{0, 2});
  }
  friend bool operator==(streaming const&, streaming const&) = default;

 private:
  /// The fragment that is launched after this step, or -1.
  [[nodiscard]] constexpr int launched_after(std::uint64_t steps) const {
    auto const apart = static_cast<std::uint64_t>(inner_steps / parts);
    if (steps == 0 || steps % apart != 0) return -1;
    return static_cast<int>((steps / apart - 1) % static_cast<std::uint64_t>(parts));
  }
};

/// One fragment, whose round lands `delay` steps after its launch: communication of the whole model, hidden
/// behind the steps that follow it.
[[nodiscard]] constexpr streaming delayed(long inner_steps, long delay, float mix = 0.0f) {
  return {.inner_steps = inner_steps, .parts = 1, .delay = delay, .mix = mix};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
