// SPDX-License-Identifier: Apache-2.0
// must not compile: deleted
#include "../support/archetypes.hpp"

using trainer = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>;

// A round has one owner, because a second handle could land it twice. (The compilers say: use of a deleted
// function.)
void train(trainer& t) {
  auto flight = t.launch();
  auto second = flight;
  t.land(std::move(second));
}
