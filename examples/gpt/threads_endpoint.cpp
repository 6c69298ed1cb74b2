// SPDX-License-Identifier: Apache-2.0
#include "trainers.hpp"

namespace gpt {

void run_on_threads(int workers, worker const& work) {
  diloco::threads_world report(workers);
  diloco::run_threads(workers, [&](diloco::threads transport) {
    int const rank = transport.rank();
    endpoint_of<diloco::threads> mine(std::move(transport), report.transport(rank));
    work(mine);
  });
}

}  // namespace gpt
