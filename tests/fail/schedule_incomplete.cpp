// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: needs name, traits, int fragments() const, fragment_cut cut, double rounds_per_step() const, action_list
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_schedule(archetype::schedule<without::after>{}),
      parameters);
}
