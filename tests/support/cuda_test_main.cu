// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cuda_runtime_api.h>

#include <cstdio>

/// 77 is CTest's SKIP_RETURN_CODE. Without a GPU, the machine has compiled and linked everything, but it
/// cannot run it.
int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device here");
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
