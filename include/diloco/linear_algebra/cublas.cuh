// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/linear_algebra.hpp>
#include <diloco/core/error.hpp>

#include <cublas_v2.h>

#include <string>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Products by cuBLAS in float32 on the executor's stream, with the caller's handle: its math mode says
/// whether TF32 may be used. The handle is set to the stream, if it has another one, and to factors on the
/// host, with each product, and must not be used by another thread meanwhile; set the stream before a
/// workspace of your own. Link cublas (CUDA::cublas). A Gram matrix is a whole product, which is symmetric
/// only up to rounding: its kernels are faster than those of ssyrk. Bits depend on device and version: what
/// is computed with it is not replicated. It has no eigenvectors, so `soap` wants another algebra.
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
    // Column by column, as cuBLAS reads, a row-major matrix is its transpose: Cᵀ = Bᵀ·Aᵀ.
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
  /// Only where it is another one: setting the stream puts the handle's workspace back to the default.
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
