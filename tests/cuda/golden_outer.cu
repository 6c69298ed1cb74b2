// SPDX-License-Identifier: Apache-2.0
#include "../golden/outer_test.cpp"
