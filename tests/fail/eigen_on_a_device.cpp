// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: eigen: computes on the host, and this executor's columns lie on a device; use linear_algebra/cublas.cuh with it
#include <diloco/executor/host.hpp>
#include <diloco/linear_algebra/eigen.hpp>

struct far : diloco::cpp {
  static constexpr bool columns_on_host = false;
};
void multiply(diloco::matrix_product const& m) { diloco::eigen{}.multiply(far{}, m); }
