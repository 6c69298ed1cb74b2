// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: step: a gradient converts neither to std::span<float const> nor to std::span<bfloat16 const>
#include <diloco/diloco.hpp>

void f(diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>& trainer) {
  trainer.step(std::vector<std::vector<double>>(2));
}
