// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: needs name, traits and bool coefficients(std::span<double const> weights, std::span<float> out) const
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_combine(archetype::combine<without::coefficients>{}),
                         parameters);
}
