// SPDX-License-Identifier: Apache-2.0
// Everything that emits an event, for check_silent_probe.py to compile with several probes and compare the
// machine code.
#include <diloco/diloco.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A probe that is asked for nothing the engine says.
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
