// SPDX-License-Identifier: Apache-2.0
// Every event of the trainer. check_silent_probe.py compiles this with several probes and compares the
// machine code.
#include <diloco/diloco.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A probe that cannot be called with any event.
struct deafly {
  void operator()(int) const {}
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

using trainer = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::absmax<8>, diloco::threads,
                               diloco::error_feedback, diloco::weighted_mean, diloco::automatic,
                               diloco::every, diloco::cpp, diloco::PROBE>;

diloco::result<> step(trainer& t, std::vector<std::span<float const>> const& gradients) {
  return t.try_step(gradients);
}

// Also what a construction emits: the functions that the rounds call.
diloco::result<trainer> make(trainer::recipe_type r, std::vector<diloco::tensor> const& parameters) {
  return trainer::make(std::move(r), parameters);
}
