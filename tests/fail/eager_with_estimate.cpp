// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: is eager, so anchors differ between ranks, and this feedback keeps what must be
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_schedule(diloco::eager(100))
                             .with_feedback(diloco::ef21{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
