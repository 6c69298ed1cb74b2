// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: exchange: combines with a second compressor, and both must work on blocks
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::top_k<64>{})
                             .with_exchange(diloco::scatter_gather_by<diloco::absmax<4>>{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
