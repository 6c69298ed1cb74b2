// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: groups: an optimizer with numbers must list them, so that ranges and ranks can be checked
#include "../support/archetypes.hpp"

#include <diloco/optimizer/groups.hpp>

struct with_a_number : archetype::optimizer<> {
  float lr = 0.5f;
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::groups(diloco::group{diloco::the_rest, with_a_number{}}))
                             .with_transport(diloco::alone{}),
                         parameters);
}
