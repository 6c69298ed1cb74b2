// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: feedback: keeps what all ranks must hear (a common column, a residual against everybody's
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::absmax<4>{})
                             .with_feedback(diloco::ef21{})
                             .with_exchange(diloco::gossip{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
