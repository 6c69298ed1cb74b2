// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/run_state.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE error run_state::fail(cause why, std::string what) const {
  return {why, rank_, static_cast<long>(rounds), "diloco: " + std::move(what)};
}

DILOCO_CORE result<> run_state::shows_training_point(std::string_view call) const {
  if (!shows_mean) return {};
  return fail(cause::wrong_state, say({call, ": the tensors show the mean; call show_sample() ",
                                       call == "step" ? "before the gradients are taken" : "first"}));
}

DILOCO_COLD DILOCO_CORE error run_state::ends(error e) {
  if (!ended()) ended_ = std::make_unique<error>(e);
  return e;
}

DILOCO_CORE result<> run_state::usable() const {
  if (!ended()) return {};
  return fail(cause::wrong_state, say({"this trainer cannot go on since: ", ended_->message}));
}

DILOCO_COLD DILOCO_CORE error run_state::threw(std::string_view call, cause what, std::string_view text) {
  return ends(fail(what, say({call, ": in round ", fragments_ == 1 ? rounds : current_round, ", step ", steps,
                              ": ", text})));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
