// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: its step is not callable as (float& p, float g, float& slot
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_inner(archetype::optimizer<without::matching_step>{}),
                         parameters);
}
