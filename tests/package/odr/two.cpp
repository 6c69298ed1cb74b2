// SPDX-License-Identifier: Apache-2.0
#include "everything.hpp"

std::string describe_in_another_file() { return describe_a_trainer(); }
