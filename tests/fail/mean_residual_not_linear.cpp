// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: feedback: a residual against the mean needs a compressor whose wires add up, such as random_k
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::absmax<4>{})
                             .with_feedback(diloco::mean_error_feedback{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
