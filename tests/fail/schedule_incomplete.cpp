// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: needs name, bool due(std::uint64_t steps) const and describe()
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_schedule(archetype::schedule<without::due>{}),
      parameters);
}
