// SPDX-License-Identifier: Apache-2.0
#include "../system/rounds.cpp"
