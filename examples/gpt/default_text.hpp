// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace gpt {

// The directory of the C++ standard library's headers: those of the compiler that built this program. If they
// are missing, it takes any other on the machine and says so on stderr. Empty if there are none.
std::string default_text();

}  // namespace gpt
