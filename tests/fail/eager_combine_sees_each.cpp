// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: is eager and counts a message before the others came; say
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_schedule(diloco::eager(100))
                             .with_combine(diloco::coordinate_median{})
                             .with_exchange(diloco::gather{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
