// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: does not state the smallest magnitude that it carries; add static constexpr float smallest, the least amax of a block that keeps its relative error
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_compressor(archetype::compressor<without::smallest>{}),
                         parameters);
}
