// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "products.hpp"

#include <cublas_v2.h>

#include <stdexcept>
#include <string>

namespace gpt {

inline void need(cublasStatus_t status, char const* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string(call) + " failed: " + cublasGetStatusString(status));
}

// In float32, on the stream of the handle.
struct cublas_products {
  cublasHandle_t handle = nullptr;

  template <class Executor>
  void multiply(Executor const&, product const& p) const {
    static_assert(!Executor::columns_on_host);
    float const one = 1.0f, beta = p.add ? 1.0f : 0.0f;
    auto const turned = [](factor const& f) { return f.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
    // cuBLAS reads column by column, so it sees a row-major matrix as its transpose: C' = B' A'.
    need(cublasSgemmStridedBatched(handle, turned(p.b), turned(p.a), p.columns, p.rows, p.depth, &one,
                                   p.b.data, static_cast<int>(p.b.line), p.b.apart, p.a.data,
                                   static_cast<int>(p.a.line), p.a.apart, &beta, p.c.data,
                                   static_cast<int>(p.c.line), p.c.apart, p.batch),
         "cublasSgemmStridedBatched");
  }
};

}  // namespace gpt
