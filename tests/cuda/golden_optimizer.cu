// SPDX-License-Identifier: Apache-2.0
#include "../golden/optimizer_test.cpp"
