// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: external or none cannot be one group of several
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::groups(diloco::group{diloco::vectors, diloco::external{}},
                                                        diloco::group{diloco::the_rest, diloco::adamw{}}))
                             .with_transport(diloco::alone{}),
                         parameters);
}
