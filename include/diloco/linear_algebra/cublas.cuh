// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/linear_algebra.hpp>
#include <diloco/core/error.hpp>

#include <cublas_v2.h>

#include <string>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// cuBLAS products in float32 on the executor's stream, with the caller's handle. The handle's math mode says
/// whether TF32 may be used. Each product sets the handle to host factors, and to the stream if it has
/// another one. No other thread may use the handle meanwhile.
/// Set the stream before you set a workspace of your own. Link cublas (CUDA::cublas).
/// A Gram matrix is computed as a full product, because those kernels are faster than ssyrk's. It is
/// symmetric only up to rounding. Bits depend on device and version, so results are not replicated. It has no
/// eigenvectors, so `soap` needs another algebra.
struct cublas {
  cublasHandle_t handle = nullptr;

  static constexpr std::string_view name = "cublas";

  template <executor E>
  void multiply(E const& where, matrix_product const& m) const {
    static_assert(!E::columns_on_host,
                  "diloco: cublas: computes on a device, and this executor's columns lie on the host; use "
                  "linear_algebra/eigen.hpp with it");
    if (m.rows == 0 || m.columns == 0) return;
    check(m.rows, m.columns, m.depth);
    take_stream(where.stream);
    need(cublasSetPointerMode(handle, CUBLAS_POINTER_MODE_HOST), "cublasSetPointerMode");
    // cuBLAS reads column by column, so it sees the transpose of a row-major matrix: Cᵀ = Bᵀ·Aᵀ.
    auto const n = [](std::size_t x) { return static_cast<int>(x); };
    auto const lines = [&](operand const& x, std::size_t rows, std::size_t columns) {
      std::size_t const line = x.transposed ? rows : columns;
      return n(line == 0 ? 1 : line);
    };
    need(cublasSgemm(handle, m.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                     m.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N, n(m.columns), n(m.rows), n(m.depth),
                     &m.alpha, m.b.data, lines(m.b, m.depth, m.columns), m.a.data,
                     lines(m.a, m.rows, m.depth), &m.beta, m.c, n(m.columns)),
         "cublasSgemm");
  }
  template <executor E>
  void gram(E const& where, gram_product const& s) const {
    multiply(where,
             matrix_product{s.side, s.side, s.depth, s.a, {s.a.data, !s.a.transposed}, s.c, s.alpha, s.beta});
  }
  friend bool operator==(cublas const&, cublas const&) = default;

 private:
  /// Sets the stream only where it differs, because cublasSetStream resets the handle's workspace to the
  /// default.
  void take_stream(cudaStream_t stream) const {
    cudaStream_t now = nullptr;
    need(cublasGetStream(handle, &now), "cublasGetStream");
    if (now != stream) need(cublasSetStream(handle, stream), "cublasSetStream");
  }
  static void check(std::size_t rows, std::size_t columns, std::size_t depth) {
    constexpr std::size_t most = 2147483647;
    if (rows <= most && columns <= most && depth <= most) return;
    raise({cause::bad_layout, 0, 0,
           "diloco: cublas: a side of a product is longer than 2147483647; split the tensor"});
  }
  static void need(cublasStatus_t status, char const* call) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    raise({cause::device, 0, 0,
           std::string("diloco: cublas: ") + call + " failed: " + cublasGetStatusString(status) +
               (status == CUBLAS_STATUS_NOT_INITIALIZED ? "; give .handle one from cublasCreate" : "")});
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
