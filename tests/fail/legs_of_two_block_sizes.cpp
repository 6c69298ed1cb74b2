// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: exchange: the second compressor must have the first one's block size
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::absmax<8>{})
                             .with_exchange(diloco::scatter_gather_by<diloco::absmax<4, 128>>{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
