// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: exchange: is none; say diloco::gather{}, diloco::scatter_gather{} or diloco::automatic{}
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_exchange(archetype::exchange<without::legs>{}),
      parameters);
}
