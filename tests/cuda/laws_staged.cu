// SPDX-License-Identifier: Apache-2.0
#include "../laws/staged.cpp"
