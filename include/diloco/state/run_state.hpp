// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/guarded.hpp>
#include <diloco/core/rng.hpp>
#include <diloco/core/text.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// How far one rank's run has come, and whether it can go on.
class run_state {
 public:
  run_state(int rank, std::size_t fragments) : rank_(rank), fragments_(fragments) {}
  [[nodiscard]] int rank() const { return rank_; }

  std::uint64_t steps = 0;          ///< counted, skipped ones included
  std::uint64_t current_round = 0;  ///< launched or landed last, among those of its fragment
  std::uint64_t rounds = 0;         ///< committed, of all fragments
  std::uint64_t steps_taken = 0;    ///< since the inner state was zeros: bias corrections go by it
  std::uint64_t samples = 0;        ///< of θ that were shown
  std::uint64_t skipped_in_a_row = 0;
  draw rounded_by;          ///< RNG stream that last rounded θ into the caller's bfloat16 tensors
  bool shows_mean = false;  ///< the caller's tensors show the point to evaluate and not θ

  DILOCO_COLD [[nodiscard]] error fail(cause why, std::string what) const {
    return {why, rank_, static_cast<long>(rounds), "diloco: " + std::move(what)};
  }
  /// Refused with a sentence while the tensors do not show the point at which gradients are taken.
  [[nodiscard]] result<> shows_training_point(std::string_view call) const {
    if (!shows_mean) return {};
    return fail(cause::wrong_state, say({call, ": the tensors show the mean; call show_sample() ",
                                         call == "step" ? "before the gradients are taken" : "first"}));
  }

  /// Ends the run: every later call is refused with the sentence of its first error.
  DILOCO_COLD error ends(error e) {
    if (!ended()) ended_ = std::make_unique<error>(e);
    return e;
  }
  [[nodiscard]] bool ended() const { return ended_ != nullptr; }
  [[nodiscard]] result<> usable() const {
    if (!ended()) return {};
    return fail(cause::wrong_state, say({"this trainer cannot go on since: ", ended_->message}));
  }
  /// Calls code that may throw in the middle of a change. An exception then ends the run.
  template <class F>
  [[nodiscard]] auto guard(std::string_view call, F&& f) {
    return guarded([&](cause what, std::string_view text) { return threw(call, what, text); }, f);
  }

 private:
  DILOCO_COLD error threw(std::string_view call, cause what, std::string_view text) {
    return ends(fail(what, say({call, ": in round ", fragments_ == 1 ? rounds : current_round, ", step ",
                                steps, ": ", text})));
  }
  int rank_;
  std::size_t fragments_;
  std::unique_ptr<error> ended_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
