// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: outer: wants the mean anchor, and its step does not take it; it needs name, slots and
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_outer(archetype::anchored<without::matching_step>{})
                             .with_transport(archetype::transport<>{}),
                         parameters);
}
