// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: a policy with numbers must list them, so that ranks can be compared; add template <class F>
#include "../support/archetypes.hpp"

struct with_a_number : archetype::optimizer<> {
  float lr = 0.5f;
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(diloco::alone{}).with_outer(with_a_number{}),
                         parameters);
}
