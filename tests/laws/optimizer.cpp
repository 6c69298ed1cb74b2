// SPDX-License-Identifier: Apache-2.0
// Every element optimizer × every law × every host executor (house rule: a new optimizer adds one line at the end).
#include "support.hpp"

namespace {

using namespace diloco;
using laws::numbers;

/// The same update in double, from the papers' formulas and not from our code.
struct reference {
  static void step(adamw const& o, long t, double& p, double g, double* s) {
    double const b1 = double(o.beta1), b2 = double(o.beta2);
    p *= 1 - double(o.lr) * double(o.weight_decay);
    s[0] = b1 * s[0] + (1 - b1) * g;
    s[1] = b2 * s[1] + (1 - b2) * g * g;
    double const m = s[0] / (1 - std::pow(b1, t)), v = s[1] / (1 - std::pow(b2, t));
    p -= double(o.lr) * m / (std::sqrt(v) + double(o.eps));
  }
  static void step(plain_sgd const& o, long, double& p, double g, double*) {
    p -= double(o.lr) * (g + double(o.weight_decay) * p);
  }
  static void step(sgd const& o, long, double& p, double g, double* s) {
    double const d = g + double(o.weight_decay) * p;
    s[0] = double(o.momentum) * s[0] + d;
    p -= double(o.lr) * (o.nesterov ? d + double(o.momentum) * s[0] : s[0]);
  }
  static void step(nesterov const& o, long, double& p, double g, double* s) {
    s[0] = double(o.momentum) * s[0] + g;
    p -= double(o.lr) * (g + double(o.momentum) * s[0]);
  }
  static void step(lion const& o, long, double& p, double g, double* s) {
    double const u = double(o.beta1) * s[0] + (1 - double(o.beta1)) * g;
    p *= 1 - double(o.lr) * double(o.weight_decay);
    p -= double(o.lr) * (u > 0 ? 1 : u < 0 ? -1 : 0);
    s[0] = double(o.beta2) * s[0] + (1 - double(o.beta2)) * g;
  }
};

/// Settings that exercise every term, and the digest of 20 steps that every compiler, level and executor must reach.
template <class O>
struct sample;
template <>
struct sample<adamw> {
  static constexpr adamw value{.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 5003664627555881466ull;
};
template <>
struct sample<plain_sgd> {
  static constexpr plain_sgd value{.lr = 0.05f, .weight_decay = 0.01f};
  static constexpr std::uint64_t digest = 16804569658485139439ull;
};
template <>
struct sample<sgd> {
  static constexpr sgd value{.lr = 0.05f, .momentum = 0.8f, .nesterov = true, .weight_decay = 0.01f};
  static constexpr std::uint64_t digest = 14975108807799220403ull;
};
template <>
struct sample<nesterov> {
  static constexpr nesterov value{.lr = 0.07f, .momentum = 0.9f};
  static constexpr std::uint64_t digest = 17059662567859602798ull;
};
template <>
struct sample<lion> {
  static constexpr lion value{.lr = 0.003f, .beta1 = 0.9f, .beta2 = 0.99f, .weight_decay = 0.1f};
  static constexpr std::uint64_t digest = 16053974620849299712ull;
};

constexpr std::size_t length = 9001;  // several tiles and a tail
constexpr int steps = 20;

/// θ after `steps` steps on tensors that start at `cuts` of one flat run of numbers.
template <class O, class Executor>
std::vector<float> trajectory(O const& optimizer, Executor executor, std::vector<std::size_t> const& cuts,
                              float lr_scale = 1.0f) {
  std::vector<float> theta = numbers(3).many(length);
  std::vector<tensor> parameters;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    parameters.push_back({"t" + std::to_string(i), {cuts[i + 1] - cuts[i]}, theta.data() + cuts[i]});
  }
  using trainer_type = laws::trainer_of<O, nesterov, f32, alone, Executor>;
  trainer_type trainer({.inner = optimizer, .executor = executor}, parameters);
  numbers source(5);
  for (int t = 0; t < steps; ++t) {
    std::vector<float> const gradient = source.many(length, 0.3f);
    std::vector<std::span<float const>> gradients;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i)
      gradients.emplace_back(gradient.data() + cuts[i], cuts[i + 1] - cuts[i]);
    trainer.step(gradients, {.lr_scale = lr_scale});
  }
  return theta;
}

TEST_CASE_TEMPLATE_DEFINE("optimizer laws", O, optimizer_laws) {
  O const optimizer = sample<O>::value;
  std::vector<float> const expected = trajectory(optimizer, cpp{}, {0, length});

  SUBCASE("lr_scale = 0 is the identity") {
    laws::on_each_executor([&](auto executor) {
      CHECK(trajectory(optimizer, executor, {0, length}, 0.0f) == numbers(3).many(length));
    });
  }
  SUBCASE("splitting a range changes nothing, on any executor") {
    laws::on_each_executor([&](auto executor) {
      CHECK(trajectory(optimizer, executor, {0, length}) == expected);
      CHECK(trajectory(optimizer, executor, {0, 1, 256, 513, 4609, 4610, length}) == expected);
    });
  }
  SUBCASE("equals the scalar reference in double") {
    numbers source(5);
    std::vector<double> p, slots(2 * length, 0.0);
    for (float x : numbers(3).many(length)) p.push_back(double(x));
    for (int t = 1; t <= steps; ++t) {
      std::vector<float> const gradient = source.many(length, 0.3f);
      for (std::size_t i = 0; i < length; ++i) reference::step(optimizer, t, p[i], double(gradient[i]), &slots[2 * i]);
    }
    double worst = 0;
    for (std::size_t i = 0; i < length; ++i) worst = std::max(worst, std::fabs(double(expected[i]) - p[i]));
    // 20 steps of a few roundings each on |p| < 3: 4e-6 is 16 ulp, and a wrong coefficient shows at 1e-3. Lion may pick
    // the other sign where its momentum is within rounding of zero: two steps' worth of difference.
    CHECK(worst < (std::is_same_v<O, lion> ? 2.1 * 0.003 : 4e-6));
  }
  SUBCASE("slots start at zero") {
    std::vector<float> theta = numbers(3).many(300);
    auto const parameters = laws::one_tensor(theta);
    laws::trainer_of<O, nesterov, f32, alone> trainer({.inner = optimizer}, parameters);
    for (auto slot : O::slots) {
      auto const cell = trainer.cell("w", "inner." + std::string(slot));
      REQUIRE(cell.size() == 300);
      for (float x : cell) CHECK(x == 0.0f);
    }
  }
  SUBCASE("replicated: one digest for every compiler, level and backend") {
    static_assert(replicated<O>);
    CHECK(laws::digest(expected) == sample<O>::digest);
  }
  SUBCASE("as an outer optimizer it steps the anchor the same way") {
    // Δ = θ̄ − θ is exact for these magnitudes, so the round sees the very numbers that the inner step saw.
    std::vector<float> theta(1000, 1.0f), inner_theta(1000, 1.0f);
    auto const parameters = laws::one_tensor(theta), inner_parameters = laws::one_tensor(inner_theta);
    laws::trainer_of<external, O, f32, alone> outer({.outer = optimizer}, parameters);
    laws::trainer_of<O, nesterov, f32, alone> inner({.inner = optimizer}, inner_parameters);
    std::vector<float> g(1000);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = 0.5f + static_cast<float>(i % 7) * 0.03125f;
    for (std::size_t i = 0; i < g.size(); ++i) theta[i] -= g[i];
    outer.after_step();
    outer.sync();
    inner.step(std::vector<std::span<float const>>{g});
    CHECK(theta == inner_theta);
  }
}
TEST_CASE_TEMPLATE_INVOKE(optimizer_laws, adamw, plain_sgd, sgd, nesterov, lion);

}  // namespace
