// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/field.hpp>
#include <diloco/core/fma.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// Parts of the optimizers' `largest()`, the largest magnitude of g that keeps their state finite. Rounding is
// monotone. Where M is a float and μ·M + g ≤ M before rounding, a buffer of at most M stays at most M for
// ever. So the bounds hold for any number of rounds, without a margin for their count.

/// Half the largest float. An anchor is at most this, and one step moves it by at most as much again.
inline constexpr double half_of_floats = unbounded / 2;
/// A margin for roundings on the way to the bounded sum: room for more than four.
inline constexpr double but_roundings = 1 - 0x1p-20;
/// g² is 2¹²⁶ at this magnitude. So a mean of squares stays below 2¹²⁷, and so does a sum of two squares.
inline constexpr float largest_to_square = 0x1p63f;

/// Rounds x towards 0 to a float. A negative x gives 0, and an x above all floats the largest float.
constexpr float float_within(double x) {
  if (!(x > 0)) return 0.0f;
  if (x >= unbounded) return static_cast<float>(unbounded);
  float const near = static_cast<float>(x);
  return static_cast<double>(near) > x ? float_of(bits_of(near) - 1) : near;
}
/// The largest magnitude that a rate may multiply on its way to the anchor.
constexpr double largest_move(float rate) {
  double const r = static_cast<double>(rate);
  return static_cast<double>(float_within(r > 0.5 ? half_of_floats / r : unbounded));
}
/// Bound on g for m ← μ·m + g, p ← p − rate·m, and with Nesterov's g + μ·m in place of m.
constexpr double largest_to_sum(float mu, float rate) {
  return (1.0 - static_cast<double>(mu)) * largest_move(rate);
}

/// Bound on g where wd·p + g must be at most `room`. If the decay leaves room, the bound holds for every
/// anchor. Otherwise it holds for anchors that are no larger than the result.
constexpr float largest_beside_decay(double room, float weight_decay) {
  double const wd = static_cast<double>(weight_decay), left = room - wd * half_of_floats;
  return float_within(left > 0 ? left : room / (1.0 + wd));
}

/// Bound on g for lr·m/(√v + eps) with |m| ≤ |g|, where v may have vanished before m.
constexpr double largest_over(float eps, float lr) {
  double const bound = half_of_floats / 2 * static_cast<double>(eps) / (static_cast<double>(lr) + 0x1p-126);
  return bound < static_cast<double>(largest_to_square) ? bound : static_cast<double>(largest_to_square);
}
/// Bound on g for m ← β·m + (1 − β)·g and a step of lr·sign.
constexpr float largest_of_mean(float lr) {
  return static_cast<double>(lr) <= half_of_floats ? float_within(unbounded * but_roundings) : 0.0f;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
