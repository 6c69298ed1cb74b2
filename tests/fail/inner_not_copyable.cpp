// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: cannot be copied; a policy is a value of named numbers
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_inner(archetype::optimizer<without::copy>{}),
      parameters);
}
