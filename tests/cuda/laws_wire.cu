// SPDX-License-Identifier: Apache-2.0
#include "../laws/wire.cpp"
