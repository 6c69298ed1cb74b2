// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Delayed Nesterov (Liu et al. 2024), for contributions that arrive one at a time. Each contribution moves p
/// at once by its own share lr·g/N. The momentum takes in the mean of N contributions, so N equal ones in a
/// row are not amplified as under nesterov.
/// A call is one contribution: g is one worker's Δ, in order of arrival, and `context.step` its number t,
/// from 1. If it is called once per round, g is the mean of the round and N counts rounds.
///   A ← A + g
///   N divides t:  m ← β·m + A/N,  A ← 0,  p ← p − lr·((1 − c·(N−1))·β·m + g/N)
///   elsewhere:    p ← p − lr·(c·β·m + g/N)
/// One g moves p by lr/(N·(1−β)) in all, for any activation c. N = 1 is nesterov bit by bit. 28 B/param;
/// replicated.
struct delayed_nesterov {
  float lr = 0.7f, momentum = 0.9f;  // β
  int period = 4;                    // N
  float activation = 0.0f;           // c in [0, 1/N]

  static constexpr std::string_view name = "delayed_nesterov";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"momentum", "buffer"};

  struct step {
    float lr, beta, pull, share;
    bool releases;
    DILOCO_HD void operator()(float& p, float g, float& m, float& buffer) const {
      buffer = buffer + g;
      if (releases) {
        m = fma(beta, m, share * buffer);
        buffer = 0.0f;
      }
      p = fma(-lr, fma(pull, m, share * g), p);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    bool const releases = c.step % static_cast<std::uint64_t>(period) == 0;
    float const pulled = releases ? fma(-activation, static_cast<float>(period - 1), 1.0f) : activation;
    return {lr * c.lr_scale, momentum, pulled * momentum, 1.0f / static_cast<float>(period), releases};
  }

  /// The buffer adds up N contributions, each with a rounding. m is at most largest()/(1−β).
  [[nodiscard]] constexpr float largest() const {
    double const n = static_cast<double>(period), summed = unbounded / n,
                 kept = detail::largest_to_sum(momentum, lr);
    return detail::float_within((summed < kept ? summed : kept) * detail::but_roundings /
                                (1.0 + n * 0x1p-23));
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("momentum", momentum, below_one);
    f("period", period, range{1, 1000000});
    f("activation", activation, zero_to_one);
  }
  [[nodiscard]] constexpr std::string_view validation_error() const {
    return activation * static_cast<float>(period) > 1.0f
               ? "activation must be in [0, 1/period]; lower one of them"
               : "";
  }
  friend bool operator==(delayed_nesterov const&, delayed_nesterov const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
