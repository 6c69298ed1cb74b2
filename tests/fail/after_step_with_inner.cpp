// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: after_step: this trainer takes the inner step itself; call step(gradients), or say .inner = diloco::external{}
#include "../support/archetypes.hpp"

using trainer = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>;

void train(trainer& t, std::vector<std::vector<float>> const& gradients) {
  t.step(gradients);
  t.after_step(8);
}
