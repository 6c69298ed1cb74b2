// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: show_mean, show_sample: this inner optimizer is evaluated where it is trained
#include <diloco/diloco.hpp>

void evaluate(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_inner(diloco::adamw{}).with_transport(diloco::alone{}),
                         parameters);
  trainer.show_mean();
}
