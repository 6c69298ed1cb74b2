// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace gpt {

// The user's mistake, in one sentence that names the culprit. main() prints it and exits with 2.
struct bad_input : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace gpt
