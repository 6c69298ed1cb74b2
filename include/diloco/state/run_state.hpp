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

  [[nodiscard]] error fail(cause why, std::string what) const;
  /// Refused with a sentence while the tensors do not show the point at which gradients are taken.
  [[nodiscard]] result<> shows_training_point(std::string_view call) const;

  /// Ends the run: every later call is refused with the sentence of its first error.
  error ends(error e);
  [[nodiscard]] bool ended() const { return ended_ != nullptr; }
  [[nodiscard]] result<> usable() const;
  /// Calls code that may throw in the middle of a change. An exception then ends the run.
  template <class F>
  [[nodiscard]] auto guard(std::string_view call, F&& f) {
    return guarded([&](cause what, std::string_view text) { return threw(call, what, text); }, f);
  }

 private:
  error threw(std::string_view call, cause what, std::string_view text);
  int rank_;
  std::size_t fragments_;
  std::unique_ptr<error> ended_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/state/run_state_definitions.hpp>
#endif
