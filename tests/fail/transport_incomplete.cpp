// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: needs rank(), size(), receives_in_place, traits, and all_gather and all_to_all
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(archetype::transport<without::all_to_all>{}),
                         parameters);
}
