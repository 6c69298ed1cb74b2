// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: does not say which state it keeps; add static constexpr std::array<std::string_view, N> slots
#include "../support/archetypes.hpp"

using archetype::without;

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_transport(diloco::alone{}).with_inner(archetype::optimizer<without::slots>{}),
      parameters);
}
