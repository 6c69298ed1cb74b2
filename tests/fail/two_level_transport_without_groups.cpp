// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: cannot exchange within groups of ranks, which this exchange does; add all_gather
#include "../support/archetypes.hpp"

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(archetype::transport<>{}).with_exchange(diloco::two_level<>{}),
      parameters);
}
