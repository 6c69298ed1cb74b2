// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: is not named in the recipe; there is no default world: say .transport = diloco::alone{} for a world of one
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_schedule(diloco::every(500)), parameters);
}
