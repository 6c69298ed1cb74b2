// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <mpi.h>

#include <cstdio>

#if defined(__CUDACC__)
#include <cuda_runtime_api.h>
#endif

/// If one rank fails, the whole job ends. Otherwise the other ranks would wait in a collective that it never
/// enters.
int main(int argc, char** argv) {
#if defined(__CUDACC__)
  if (int devices = 0; cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device here");
    return 77;  // CTest's SKIP_RETURN_CODE
  }
#endif
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  doctest::Context context(argc, argv);
  context.setOption("minimal", rank != 0);  // one summary is enough; every rank reports failures
  int const code = context.run();
  if (code != 0) {
    std::fprintf(stderr, "rank %d failed\n", rank);
    MPI_Abort(MPI_COMM_WORLD, code);
  }
  MPI_Finalize();
  return code;
}
