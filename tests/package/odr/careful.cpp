// SPDX-License-Identifier: Apache-2.0
#define DILOCO_CHECKS 2
#include "levels.hpp"

bool hasty_refuses_nan();

int main() { return refuses_nan() && !hasty_refuses_nan() ? 0 : 1; }
