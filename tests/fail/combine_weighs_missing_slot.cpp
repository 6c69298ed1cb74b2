// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: weighs elements by a slot that the inner optimizer has not; precision_weighted wants ivon's h
#include <diloco/diloco.hpp>

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_combine(diloco::precision_weighted{}).with_transport(diloco::alone{}),
      parameters);
}
