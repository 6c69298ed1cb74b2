// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: groups are weighed like ranks, and this rule does not say that its coefficients
#include "../support/archetypes.hpp"

#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_combine(archetype::combine<>{})
                             .with_exchange(diloco::two_level<>{.group = 2})
                             .with_transport(diloco::alone{}),
                         parameters);
}
