// SPDX-License-Identifier: Apache-2.0
#include "mpi_main.cpp"
