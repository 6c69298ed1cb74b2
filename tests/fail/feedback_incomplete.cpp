// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: feedback: needs name, remembers, float want(float delta, float residual) const and float keep(
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_feedback(archetype::feedback<without::keep>{}),
      parameters);
}
