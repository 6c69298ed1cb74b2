// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: muon: its algebra needs name, multiply and gram; see diloco::eigen
#include "../support/archetypes.hpp"

#include <diloco/optimizer/muon.hpp>

struct half_an_algebra {
  static constexpr std::string_view name = "half";
  template <class E>
  void multiply(E const&, diloco::matrix_product const&) const {}
};
diloco::muon<half_an_algebra> optimizer;
