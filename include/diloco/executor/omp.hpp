// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/executor/host.hpp>

#include <thrust/system/omp/execution_policy.h>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Uses all OpenMP threads. Needs -fopenmp. Under clang prefer `tbb`, which keeps the loops vectorized.
struct omp : detail::host_executor<omp> {
  static constexpr std::string_view name = "omp";
  static auto policy() { return thrust::omp::par; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
