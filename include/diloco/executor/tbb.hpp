// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/executor/host.hpp>

#include <thrust/system/tbb/execution_policy.h>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Uses all threads of oneTBB's arena. Link with oneTBB.
struct tbb : detail::host_executor<tbb> {
  static constexpr std::string_view name = "tbb";
  static auto policy() { return thrust::tbb::par; }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
