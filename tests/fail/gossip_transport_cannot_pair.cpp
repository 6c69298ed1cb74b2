// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: cannot pair ranks, which this exchange does; add exchange(wires, int partner,
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(archetype::transport<without::exchange>{})
                             .with_exchange(diloco::gossip{}),
                         parameters);
}
