// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: cannot be decoded; add template <lanes L> void decode(L, slice_view const&
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_transport(diloco::alone{})
                             .with_compressor(archetype::staged<without::decode>{}),
                         parameters);
}
