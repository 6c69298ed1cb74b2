// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/feedback/error_feedback.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// EF21 (Richtárik et al. 2021). Each worker keeps an estimate h of its own Δ and sends y = C(Δ − h), h ← h +
/// y. All workers keep the mean of all estimates (the shared estimate), add the mean of the messages to it,
/// and step by it.
/// It suits a Δ that changes slowly over rounds, and keeps no residual in units of a learning rate. Each
/// worker counts 1/K whatever its tokens, so that the shared estimate stays the mean of the h.
/// Under scatter–gather the owner's quantization has exact error feedback.
struct ef21 {
  static constexpr std::string_view name = "ef21";
  static constexpr feedback_traits traits{.shared_estimate = true};
  [[nodiscard]] DILOCO_HD float want(float delta, float h) const { return delta - h; }
  [[nodiscard]] DILOCO_HD float keep(float, float sent, float h) const { return h + sent; }
  [[nodiscard]] constexpr ef21 at(std::uint64_t) const { return {}; }
  [[nodiscard]] constexpr error_feedback owner() const { return {}; }
  friend bool operator==(ef21 const&, ef21 const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
