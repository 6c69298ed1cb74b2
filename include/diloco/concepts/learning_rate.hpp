// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Traits of a learning-rate schedule: `static constexpr rate_traits traits{};`
struct rate_traits {
  bool constant = false;  ///< its factor is 1 in every step
  /// Its factor is in [0, 1] and has the same bits on every machine: no transcendental function, and every
  /// multiply-add is spelled. An outer optimizer may follow it.
  bool replicated = false;
};

/// A learning-rate schedule. `factor(step)` scales the inner learning rate in inner step `step`. Steps count
/// from 1 and include skipped steps.
/// It must be a pure function, so the step is its whole position, and a snapshot already holds that.
template <class R>
concept learning_rate = std::copyable<R> && requires(R const& r, std::uint64_t step) {
  { R::name } -> std::convertible_to<std::string_view>;
  { R::traits } -> std::same_as<rate_traits const&>;
  { r.factor(step) } -> std::same_as<float>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
