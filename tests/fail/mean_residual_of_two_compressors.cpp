// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: feedback: a residual against the mean does not know what a second compressor loses
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_compressor(diloco::f32{})
                             .with_feedback(diloco::mean_error_feedback{})
                             .with_exchange(diloco::scatter_gather_by<diloco::absmax<2>>{})
                             .with_transport(diloco::alone{}),
                         parameters);
}
