// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: cannot encode; add template <lanes L> void encode(
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_compressor(archetype::compressor<without::encode>{}),
                         parameters);
}
