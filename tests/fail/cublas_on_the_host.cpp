// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: cublas: computes on a device, and this executor's columns lie on the host; use linear_algebra/eigen.hpp with it
#include <diloco/executor/host.hpp>
#include <diloco/linear_algebra/cublas.cuh>

void multiply(diloco::matrix_product const& m) { diloco::cublas{}.multiply(diloco::cpp{}, m); }
