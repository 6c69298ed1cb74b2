// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

/// This process's rank in the world that mpirun started.
inline int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
inline int world_size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}
