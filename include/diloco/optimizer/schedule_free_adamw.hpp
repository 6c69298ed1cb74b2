// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/optimizer/adam.hpp>
#include <diloco/optimizer/detail/largest.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace detail {
/// x^s for s ≥ 0 by products and one square root for each binary digit of s behind the point. These
/// operations all round correctly, while `pow` gives different bits in every libm. Relative error below
/// 1e-14.
inline double dyadic_power(double x, double s) {
  double const whole = std::floor(s);
  double result = integer_power(x, static_cast<unsigned long long>(whole));
  for (double rest = s - whole; rest > 0;) {
    rest = rest + rest;
    x = std::sqrt(x);
    if (rest < 1) continue;
    rest = rest - 1;
    result = result * x;
  }
  return std::fma(result, 1.0, 0.0);  // rounds here: the compiler cannot fuse it with the caller's addition
}

/// Σ jˢ over j = 1…n in constant time. It adds up to 16 terms one by one, then uses Euler–Maclaurin with
/// three corrections. Relative error below 1e-11 for s in [0, 8].
inline double power_sum(std::uint64_t n, double s) {
  if (s == 0) return static_cast<double>(n);
  std::uint64_t const first = n < 16 ? n : 16;
  double sum = 0;
  for (std::uint64_t j = 1; j <= first; ++j) sum = sum + dyadic_power(static_cast<double>(j), s);
  if (n == first) return sum;
  double const c1 = s / 12, c3 = s * (s - 1) * (s - 2) / 720,
               c5 = s * (s - 1) * (s - 2) * (s - 3) * (s - 4) / 30240;
  auto const primitive = [&](double x) {  // xˢ·(x/(s+1) + 1/2 + c1/x − c3/x³ + c5/x⁵)
    double const corrections = c1 / x - c3 / (x * x * x) + c5 / (x * x * x * x * x);
    return std::fma(x / (s + 1) + 0.5 + corrections, dyadic_power(x, s), 0.0);
  };
  return sum + (primitive(static_cast<double>(n)) - primitive(static_cast<double>(first)));
}

/// wₖ / (w₁ + … + wₖ) with w_j = j^r·min(1, j/warmup)^power.
inline double share_of_last(std::uint64_t k, std::uint64_t warmup, double r, double power) {
  auto const x = static_cast<double>(k);
  if (k <= warmup) return dyadic_power(x, r + power) / power_sum(k, r + power);
  double const constant = power_sum(k, r) - power_sum(warmup, r);
  if (warmup == 0) return dyadic_power(x, r) / constant;
  return dyadic_power(x, r) /
         (power_sum(warmup, r + power) / dyadic_power(static_cast<double>(warmup), power) + constant);
}
}  // namespace detail

/// Schedule-Free AdamW (Defazio et al. 2024). It has a warm-up and no schedule after it. An average of the
/// iterates replaces the schedule. Step k, from 1, of the three sequences x, y and z, which start equal:
///   lrₖ = lr·min(1, k/warmup),  n = g(y)/(√v̂ + eps) + wd·y,  z ← z − lrₖ·n
///   c = wₖ/(w₁ + … + wₖ),  wₖ = k^r·(lrₖ/lr)^weight_power,  x ← (1−c)·x + c·z,  y ← β₁·x + (1−β₁)·z
/// The parameters hold y, and the slot holds d = z − y. d starts at zero at the first step that is not
/// skipped:
///   y ← y + c·d − lrₖ·(1 − β₁·(1−c))·n,  d ← (1−c)·(d − lrₖ·β₁·n)
/// Evaluate and keep the average, x = y − d·(1−β₁)/β₁ (`evaluation_point`). `at` computes the sum of weights
/// in closed form, in 3 µs at most.
/// `lr_scale` multiplies the rate of its own step and no weight, so at 0 y still moves towards z. A constant
/// lr_scale is the same as a smaller lr. This optimizer needs no schedule. One sweep, 28 B/param; replicated.
///
/// As inner optimizer: Δ is a difference of y's, and θ̄ is a y. d and v stay with the worker, as all inner
/// state does. So a round moves the worker's x, y and z by one displacement. Where it moves the workers to
/// the mean of their y, the means of their x and of their z do not change.
struct schedule_free_adamw {
  float lr = 2.5e-3f, beta1 = 0.9f, beta2 = 0.999f, eps = 1e-8f, weight_decay = 0.0f;
  long warmup = 0;  // steps
  float r = 0.0f, weight_power = 2.0f;

  static constexpr std::string_view name = "schedule_free_adamw";
  static constexpr optimizer_traits traits{.replicated = true};
  static constexpr std::array<std::string_view, 2> slots{"z_minus_y", "v"};

  struct step {
    float toward, pull, keep, turn, root_correction, beta2, eps, weight_decay;
    DILOCO_HD void operator()(float& y, float g, float& d, float& v) const {
      v = fma((1.0f - beta2) * g, g, beta2 * v);
      float const n = fma(weight_decay, y, g / fma(std::sqrt(v), root_correction, eps));
      y = fma(-pull, n, fma(toward, d, y));
      d = fma(-turn, n, keep * d);
    }
  };
  [[nodiscard]] step at(step_context c) const {
    auto const warm = static_cast<std::uint64_t>(warmup);
    double const reached = c.step < warm ? static_cast<double>(c.step) / static_cast<double>(warm) : 1.0;
    double const rate = static_cast<double>(lr) * static_cast<double>(c.lr_scale) * reached;
    double const toward =
        detail::share_of_last(c.step, warm, static_cast<double>(r), static_cast<double>(weight_power));
    auto const mixed = static_cast<double>(beta1);
    return {static_cast<float>(toward),
            static_cast<float>(rate * std::fma(-mixed, 1.0 - toward, 1.0)),
            static_cast<float>(1.0 - toward),
            static_cast<float>(rate * mixed * (1.0 - toward)),
            detail::root_correction_at(beta2, c.step),
            beta2,
            eps,
            weight_decay};
  }

  /// Computes x of one element from its y and d, also on a device. For a tensor, with d = trainer.cell(name,
  /// "inner.z_minus_y"): `std::transform(y.begin(), y.end(), d.begin(), x.begin(),
  /// optimizer.evaluation_point())`.
  struct evaluation {
    float ratio;
    DILOCO_HD float operator()(float y, float d) const { return fma(-ratio, d, y); }
  };
  [[nodiscard]] constexpr evaluation evaluation_point() const { return {(1.0f - beta1) / beta1}; }

  /// n is at most 2¹³, or 2⁻⁶²/eps where v has vanished. d adds up 2³⁴ of them. With a weight decay the bound
  /// holds for anchors that are no larger than it.
  [[nodiscard]] constexpr float largest() const {
    double const n = 0x1p13 + 0x1p-62 / static_cast<double>(eps) + 0x1p63 * static_cast<double>(weight_decay);
    bool const fits = static_cast<double>(lr) * n * 0x1p34 <= detail::half_of_floats;
    return fits ? detail::largest_to_square : 0.0f;
  }

  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, non_negative);
    f("beta1", beta1, range{0, 1, true, true});
    f("beta2", beta2, below_one);
    f("eps", eps, positive);
    f("weight_decay", weight_decay, non_negative);
    f("warmup", warmup, non_negative);
    f("r", r, range{0, 4});
    f("weight_power", weight_power, range{0, 4});
  }
  friend bool operator==(schedule_free_adamw const&, schedule_free_adamw const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
