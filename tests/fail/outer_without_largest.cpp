// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: outer: does not say up to which magnitude of g its state stays finite; add
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_outer(archetype::optimizer<without::largest>{}),
      parameters);
}
