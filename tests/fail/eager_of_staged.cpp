// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: schedule: is eager and reads messages of two rounds together; take a compressor of blocks
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_schedule(diloco::eager(100))
                             .with_compressor(diloco::top_k<64>{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
