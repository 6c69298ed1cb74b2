// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: soap: its algebra needs eigenvectors and orthonormalize beside products; see diloco::eigen
#include "../support/archetypes.hpp"

#include <diloco/optimizer/soap.hpp>

struct products_only {
  static constexpr std::string_view name = "products";
  template <class E>
  void multiply(E const&, diloco::matrix_product const&) const {}
  template <class E>
  void gram(E const&, diloco::gram_product const&) const {}
};
diloco::soap<products_only> optimizer;
