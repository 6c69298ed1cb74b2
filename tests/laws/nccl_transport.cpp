// SPDX-License-Identifier: Apache-2.0 The laws of laws/transport.hpp over transport/nccl.hpp and a fake
// NCCL.
#include "support/fake_nccl.hpp"
#include "transport.hpp"

#include <diloco/transport/nccl.hpp>

namespace {

using namespace diloco;

/// Ranks are threads. Each NCCL call stays in progress for InProgress polls.
template <int InProgress>
struct over_nccl {
  static constexpr bool receives_in_place = false, knows_peers = false, takes_back = false;
  static constexpr std::string_view late_of_all =
      "diloco: nccl: round 4 phase 0: not every rank arrived before the deadline (NCCL does not tell which)";
  static constexpr std::string_view late_of_pair =
      "diloco: nccl: round 4 phase 0: rank 1 did not arrive before the deadline";
  template <class F>
  static void run(int workers, F&& f) {
    fake::reset({.in_progress = InProgress});
    auto const id = fake::unique_id();
    run_threads(workers, [&](threads end) { f(nccl::make(id, end.rank(), workers).value()); });
    CHECK(fake::count().misuses == 0);
  }
};
struct with_counts : over_nccl<0> {
  template <class F>
  static void run(int workers, F&& f) {
    over_nccl<0>::run(workers, [&](nccl end) { f(counted(std::move(end))); });
  }
};
using at_once = over_nccl<0>;
using later = over_nccl<3>;

TEST_CASE_TEMPLATE_INVOKE(laws::transport_laws, at_once, later, with_counts);
TEST_CASE_TEMPLATE_INVOKE(laws::pairing_laws, at_once, later, with_counts);
TEST_CASE_TEMPLATE_INVOKE(laws::group_laws, at_once, later, with_counts);

}  // namespace
