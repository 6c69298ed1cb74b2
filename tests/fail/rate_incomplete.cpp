// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: rate: needs name, traits and float factor(std::uint64_t step) const
#include <diloco/diloco.hpp>

struct linear {
  static constexpr std::string_view name = "linear";
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_rate(linear{}).with_transport(diloco::alone{}), parameters);
}
