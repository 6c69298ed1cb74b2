// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: its traits and its members differ; .memory stands for memory_elements,
#include "../support/row_mean.hpp"

// A member that the traits do not name would silently be left out.
struct forgetful : toy::row_mean {
  static constexpr diloco::optimizer_traits traits{.shapes = true};
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(diloco::alone{}).with_inner(forgetful{}),
                         parameters);
}
