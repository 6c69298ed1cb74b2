// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: step: the inner optimizer is external, so the framework takes the step itself; call after_step()
#include "../support/archetypes.hpp"

#include <diloco/optimizer/external.hpp>

using trainer = diloco::DiLoCo<diloco::external, diloco::nesterov, diloco::f32, diloco::alone>;

void train(trainer& t, std::vector<std::vector<float>> const& gradients) {
  t.after_step(8);
  t.step(gradients);
}
