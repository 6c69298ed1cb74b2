// SPDX-License-Identifier: Apache-2.0
#include "../system/mpi_mixed.cpp"
