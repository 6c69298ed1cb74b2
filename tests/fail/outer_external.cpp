// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: outer: is not an element optimizer; it needs name, slots and at(step_context)
#include "../support/archetypes.hpp"

#include <diloco/optimizer/external.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(diloco::alone{}).with_outer(diloco::external{}),
                         parameters);
}
