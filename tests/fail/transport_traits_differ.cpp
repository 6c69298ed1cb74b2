// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: has after(executor), and its traits do not say .follows_executor
#include <diloco/diloco.hpp>

// A member that the traits do not name would silently be left out: the host would wait before each exchange.
struct forgetful : diloco::threads {
  static constexpr diloco::transport_traits traits{};
  template <class E>
  static void after(E const&) {}
};

void make(std::vector<diloco::tensor> const& parameters, forgetful world) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(std::move(world)), parameters);
}
