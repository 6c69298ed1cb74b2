// SPDX-License-Identifier: Apache-2.0
#include "trainers.hpp"

namespace gpt {

void run_alone(worker const& work) {
  endpoint_of<diloco::alone> mine(diloco::alone{}, diloco::alone{});
  work(mine);
}

}  // namespace gpt
