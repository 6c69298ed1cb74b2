// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: does not state its wire; add static constexpr name, block, traits, largest, side_bytes and code_bytes(n)
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_compressor(archetype::compressor<without::code_bytes>{}),
                         parameters);
}
