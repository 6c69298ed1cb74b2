// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: is eager, so each rank must hear every message as it was sent; say
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_schedule(diloco::eager(100))
                             .with_exchange(diloco::two_level<>{.group = 2})
                             .with_transport(diloco::alone{}),
                         parameters);
}
