// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: a policy within another must list its numbers, so that ranks can be compared
#include "../support/archetypes.hpp"

#include <diloco/diloco.hpp>

struct with_a_number : archetype::optimizer<> {
  float lr = 0.5f;
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_outer(diloco::restarted<with_a_number>{}).with_transport(diloco::alone{}),
      parameters);
}
