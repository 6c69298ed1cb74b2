// SPDX-License-Identifier: Apache-2.0
// The products of matrices that a model of kernels leaves to a library: Eigen where its memory is the host's,
// cuBLAS (cublas_products.cuh) where it is a device's. diloco's own linear_algebra policies know no strides
// and no batches.
#pragma once

#include <cstddef>

namespace gpt {

// Row-major, one row every `line` numbers, the next of a batch `apart` numbers further. A transposed factor
// is given as it lies in memory.
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
