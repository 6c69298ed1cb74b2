// SPDX-License-Identifier: Apache-2.0
#include "everything.hpp"

int main() { return describe_a_trainer() == describe_in_another_file() ? 0 : 1; }
