// SPDX-License-Identifier: Apache-2.0
// The matrix products that a model of kernels leaves to a library: Eigen for host memory, cuBLAS
// (cublas_products.cuh) for device memory. diloco's own linear_algebra policies support neither strides nor
// batches.
#pragma once

#include <cstddef>

namespace gpt {

// Row-major, with `line` numbers from row to row and `apart` numbers from one matrix of a batch to the next.
// A transposed factor is given as it lies in memory.
struct factor {
  float const* data;
  std::ptrdiff_t line;
  bool transposed = false;
  std::ptrdiff_t apart = 0;
};
struct target {
  float* data;
  std::ptrdiff_t line;
  std::ptrdiff_t apart = 0;
};

// C = A B, or C += A B, for each of a batch: (rows, columns) from (rows, depth) and (depth, columns).
struct product {
  int rows, columns, depth;
  factor a, b;
  target c;
  bool add = false;
  int batch = 1;
};

}  // namespace gpt
