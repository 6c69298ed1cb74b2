// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// When rounds happen, from the number of inner steps alone: every rank must come to the same answer.
template <class S>
concept schedule = std::copyable<S> && requires(S const& s, std::uint64_t steps) {
  { S::name } -> std::convertible_to<std::string_view>;
  {
    s.due(steps)
    } -> std::same_as<bool>;  // a round is launched and landed right after inner step number `steps`
  { s.describe() } -> std::convertible_to<std::string>;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
