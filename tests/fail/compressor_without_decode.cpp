// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: cannot be decoded; add template <lanes L, class Sink> void decode(
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_compressor(archetype::compressor<without::decode>{}),
                         parameters);
}
