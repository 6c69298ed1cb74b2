// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

/// A separate stream for a test. It is not ordered with the legacy default stream.
struct test_stream {
  cudaStream_t handle = nullptr;
  test_stream() { REQUIRE(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking) == cudaSuccess); }
  ~test_stream() { cudaStreamDestroy(handle); }
  test_stream(test_stream const&) = delete;
  test_stream& operator=(test_stream const&) = delete;
};
