// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: outer: slow momentum divides by the inner rate, and a rate that changes is not known to the round
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_outer(diloco::slowmo{})
                             .with_rate(diloco::warmup_cosine{.total = 100})
                             .with_transport(diloco::alone{}),
                         parameters);
}
