// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: executor: needs name, columns_on_host, traits, allocate(bytes), allocate_wire(bytes), for_each(n, kernel) and wait()
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_executor(archetype::executor<without::wait>{}),
      parameters);
}
