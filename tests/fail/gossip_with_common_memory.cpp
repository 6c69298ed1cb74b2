// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: remembers what all ranks agree on, and this exchange lets two hear each other;
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::low_rank<4, diloco::factors::common>{})
                             .with_exchange(diloco::gossip{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
