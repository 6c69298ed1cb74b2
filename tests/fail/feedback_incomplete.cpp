// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: feedback: needs name, traits, owner() and at(round), which returns a value with float want(
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_feedback(archetype::feedback<without::keep>{}),
      parameters);
}
