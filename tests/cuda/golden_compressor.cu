// SPDX-License-Identifier: Apache-2.0
#include "../golden/compressor_test.cpp"
