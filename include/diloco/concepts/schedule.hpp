// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/fragment_cut.hpp>
#include <diloco/core/error.hpp>

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What a trainer does for one fragment of the model after an inner step.
struct action {
  /// `land_and_launch` lands the open round, if there is one, and launches the next from the θ before it.
  /// This worker's own share of the next round counts in the outer step at once (eager.hpp).
  enum kind : std::uint8_t { launch, land, land_and_launch };
  kind what = launch;
  int fragment = 0;
  float mix = 0.0f;  ///< of a landing: share of θ that is kept, as in land_options
};

/// Fragments of a model, at most: the transports keep an exchange of each.
inline constexpr int max_fragments = 32;

/// Actions in order, without heap memory.
class action_list {
 public:
  static constexpr int capacity = 2 * max_fragments;
  constexpr action_list() = default;
  constexpr action_list(std::initializer_list<action> all) {
    for (action const& a : all) add(a);
  }
  constexpr void add(action a) {
    if (count_ == capacity)
      raise({cause::bad_setting, 0, 0, "diloco: schedule: more than 64 actions after one step"});
    actions_[static_cast<std::size_t>(count_++)] = a;
  }
  [[nodiscard]] constexpr bool empty() const { return count_ == 0; }
  [[nodiscard]] constexpr action const* begin() const { return actions_.data(); }
  [[nodiscard]] constexpr action const* end() const { return actions_.data() + count_; }

 private:
  std::array<action, capacity> actions_{};
  int count_ = 0;
};

/// Traits of a schedule: `static constexpr schedule_traits traits{};`.
struct schedule_traits {
  /// It has `land_and_launch` actions, of one fragment. Anchors then differ between ranks.
  bool eager = false;
};

/// Says when rounds happen. `after(steps)` gives the actions after inner step number `steps`. It is a pure
/// function, so all ranks do the same.
/// `fragments()` is the number of parts into which the model is cut, and `cut` says how. `rounds_per_step()`
/// is how many of them are launched per step, on average; 0 if the caller launches. `describe` of the trainer
/// prints costs by it.
template <class S>
concept schedule = std::copyable<S> && requires(S const& s, std::uint64_t steps) {
  { S::name } -> std::convertible_to<std::string_view>;
  { S::traits } -> std::same_as<schedule_traits const&>;
  { s.fragments() } -> std::same_as<int>;
  { s.cut } -> std::convertible_to<fragment_cut>;
  { s.rounds_per_step() } -> std::same_as<double>;
  { s.after(steps) } -> std::same_as<action_list>;
  { s.describe() } -> std::convertible_to<std::string>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
