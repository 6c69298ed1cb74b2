// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: step: gradients is one flat list of numbers; give a list with one std::span<float const> per tensor
#include <diloco/diloco.hpp>

void f(diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>& trainer) {
  trainer.step(std::vector<float>(100));
}
