// SPDX-License-Identifier: Apache-2.0
#include <diloco/executor/host.hpp>
#include <diloco/linear_algebra/eigen.hpp>

void multiply(diloco::matrix_product const& product) { diloco::eigen{}.multiply(diloco::cpp{}, product); }
