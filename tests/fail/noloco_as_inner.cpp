// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: wants the mean of the anchors, which only a round has; it is an outer optimizer
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_inner(diloco::noloco{}).with_transport(diloco::alone{}),
                         parameters);
}
