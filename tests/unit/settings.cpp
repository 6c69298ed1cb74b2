// SPDX-License-Identifier: Apache-2.0
// Bad settings give one error message with the culprit, at construction or at the call, and change nothing.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace diloco;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

using trainer = toy::trainer_of<adamw, nesterov, f32, alone>;

/// The error message of constructing this trainer.
template <class Trainer = trainer>
std::string made(typename Trainer::recipe_type r) {
  toy::model m({5, 300});
  return toy::sentence(toy::outcome_of(Trainer::make(std::move(r), m.parameters())));
}

trainer::recipe_type recipe_in_order() {
  return {.exchange = {}, .transport = alone{}, .schedule = every(1000)};
}

}  // namespace

TEST_CASE("settings: the defaults are in their ranges") { CHECK(made(recipe_in_order()) == "no error"); }

TEST_CASE("settings: every role's numbers are looked at before anything is allocated") {
  auto const with = [](auto change) {
    auto r = recipe_in_order();
    change(r);
    return made(std::move(r));
  };
  CHECK(with([](auto& r) { r.inner.lr = -1; }) ==
        "diloco: inner adamw: lr = -1 must be a number not below 0");
  CHECK(with([](auto& r) { r.inner.weight_decay = not_a_number; }) ==
        "diloco: inner adamw: weight_decay = nan must be a number not below 0");
  CHECK(with([](auto& r) { r.outer.momentum = 1; }) ==
        "diloco: outer nesterov: momentum = 1 must be in [0, 1)");
  CHECK(with([](auto& r) { r.outer.lr = infinity; }) ==
        "diloco: outer nesterov: lr = inf must be a number not below 0");
  CHECK(with([](auto& r) { r.feedback.decay = 1.5f; }) ==
        "diloco: feedback error_feedback: decay = 1.5 must be in [0, 1]");
  CHECK(with([](auto& r) { r.schedule = every(0); }) ==
        "diloco: schedule every: inner_steps = 0 must be a number not below 1");
  CHECK(with([](auto& r) { r.schedule = every(-5); }) ==
        "diloco: schedule every: inner_steps = -5 must be a number not below 1");
  CHECK(with([](auto& r) { r.deadline_seconds = 0; }) == "diloco: deadline_seconds = 0 must be in (0, 1e9)");
  CHECK(with([](auto& r) { r.deadline_seconds = -3; }) ==
        "diloco: deadline_seconds = -3 must be in (0, 1e9)");
  CHECK(with([](auto& r) { r.deadline_seconds = std::numeric_limits<double>::quiet_NaN(); }) ==
        "diloco: deadline_seconds = nan must be in (0, 1e9)");
  CHECK(with([](auto& r) { r.deadline_seconds = 1e300; }) ==
        "diloco: deadline_seconds = 1e+300 must be in (0, 1e9)");
}

TEST_CASE("settings: each shipped optimizer knows its ranges") {
  CHECK(field_error("inner", lion{.beta1 = 1}) == "diloco: inner lion: beta1 = 1 must be in [0, 1)");
  CHECK(field_error("inner", lion{.beta2 = -0.5f}) == "diloco: inner lion: beta2 = -0.5 must be in [0, 1)");
  CHECK(field_error("inner", lion{.weight_decay = -1}) ==
        "diloco: inner lion: weight_decay = -1 must be a number not below 0");
  CHECK(field_error("inner", lion{.lr = not_a_number}) ==
        "diloco: inner lion: lr = nan must be a number not below 0");
  CHECK(field_error("inner", sgd{.lr = -1}) == "diloco: inner sgd: lr = -1 must be a number not below 0");
  CHECK(field_error("inner", sgd{.momentum = 1}) == "diloco: inner sgd: momentum = 1 must be in [0, 1)");
  CHECK(field_error("inner", sgd{.weight_decay = infinity}) ==
        "diloco: inner sgd: weight_decay = inf must be a number not below 0");
  CHECK(field_error("inner", plain_sgd{.lr = -infinity}) ==
        "diloco: inner plain_sgd: lr = -inf must be a number not below 0");
  CHECK(field_error("inner", plain_sgd{.weight_decay = -1}) ==
        "diloco: inner plain_sgd: weight_decay = -1 must be a number not below 0");
  CHECK(field_error("outer", nesterov{.momentum = -0.1f}) ==
        "diloco: outer nesterov: momentum = -0.1 must be in [0, 1)");
  CHECK(field_error("inner", adam{.beta2 = 1}) == "diloco: inner adam: beta2 = 1 must be in [0, 1)");
  CHECK(field_error("inner", adam{.eps = 0}) == "diloco: inner adam: eps = 0 must be a number above 0");
  CHECK(field_error("inner", signum{.beta = 1}) == "diloco: inner signum: beta = 1 must be in [0, 1)");
  CHECK(field_error("inner", sign_sgd{.lr = -1}) ==
        "diloco: inner sign_sgd: lr = -1 must be a number not below 0");
  CHECK(field_error("outer", heavy_ball{.momentum = 1}) ==
        "diloco: outer heavy_ball: momentum = 1 must be in [0, 1)");
  CHECK(field_error("outer", fedadam{.tau = 0}) == "diloco: outer fedadam: tau = 0 must be a number above 0");
  CHECK(field_error("outer", fedyogi{.beta1 = -1}) == "diloco: outer fedyogi: beta1 = -1 must be in [0, 1)");
  CHECK(field_error("outer", fedadagrad{.tau = -1}) ==
        "diloco: outer fedadagrad: tau = -1 must be a number above 0");
  CHECK(field_error("outer", slowmo{.inner_lr = 0}) ==
        "diloco: outer slowmo: inner_lr = 0 must be a number above 0");
  CHECK(field_error("outer", bmuf{.block_lr = -1}) ==
        "diloco: outer bmuf: block_lr = -1 must be a number not below 0");
  CHECK(field_error("outer", lookahead{.alpha = 1.5f}) ==
        "diloco: outer lookahead: alpha = 1.5 must be in [0, 1]");
  CHECK(field_error("outer", delayed_nesterov{.period = 0}) ==
        "diloco: outer delayed_nesterov: period = 0 must be in [1, 1000000]");
  CHECK(field_error("inner", schedule_free_adamw{.beta1 = 0}) ==
        "diloco: inner schedule_free_adamw: beta1 = 0 must be in (0, 1)");
  CHECK(field_error("inner", schedule_free_adamw{.warmup = -1}) ==
        "diloco: inner schedule_free_adamw: warmup = -1 must be a number not below 0");
  CHECK(field_error("inner", schedule_free_adamw{.r = -0.5f}) ==
        "diloco: inner schedule_free_adamw: r = -0.5 must be in [0, 4]");
}

TEST_CASE("settings: numbers that do not go together") {
  std::string const without =
      "diloco: outer sgd: nesterov needs a momentum above 0 and a dampening of 0; set both, or "
      "nesterov = false";
  CHECK(field_error("outer", sgd{.nesterov = true}) == without);
  CHECK(field_error("outer", sgd{.momentum = 0.9f, .dampening = 0.1f, .nesterov = true}) == without);
  CHECK(field_error("outer", sgd{.dampening = 0.1f}) ==
        "diloco: outer sgd: dampening does nothing without a momentum above 0; set one, or dampening = 0");
  CHECK(field_error("outer", sgd{.momentum = 0.9f, .nesterov = true}).empty());
  CHECK(field_error("outer", sgd{.momentum = 0.9f, .dampening = 0.1f}).empty());
  CHECK(field_error("outer", sgd{}).empty());
  CHECK(field_error("outer", delayed_nesterov{.period = 3, .activation = 0.5f}) ==
        "diloco: outer delayed_nesterov: activation must be in [0, 1/period]; lower one of them");
  CHECK(field_error("outer", delayed_nesterov{.period = 3, .activation = 1.0f / 3}).empty());
  // A single number out of range is reported first, because checks that depend on it mean nothing.
  CHECK(field_error("outer", sgd{.lr = -1, .nesterov = true}) ==
        "diloco: outer sgd: lr = -1 must be a number not below 0");
}

TEST_CASE("settings: the throwing constructor says the same") {
  toy::model m({5});
  auto r = recipe_in_order();
  r.schedule = every(0);
  CHECK_THROWS_WITH_AS(trainer(r, m.parameters()),
                       "diloco: schedule every: inner_steps = 0 must be a number not below 1", exception);
}

TEST_CASE("step options: one bad number is an error, and the step is not taken") {
  toy::model m({5, 300});
  auto made_trainer = trainer::make(recipe_in_order(), m.parameters());
  REQUIRE(made_trainer);
  trainer& t = *made_trainer;
  t.step(m.gradients(0, 0));
  auto const before = toy::state_of(t, m);
  auto const step = [&](step_options o) {
    return toy::sentence(toy::outcome_of(t.try_step(m.gradients(0, 1), o)));
  };
  CHECK(step({.lr_scale = -1}) == "diloco: step: lr_scale = -1 must be a number not below 0");
  CHECK(step({.lr_scale = not_a_number}) == "diloco: step: lr_scale = nan must be a number not below 0");
  CHECK(step({.grad_scale = infinity}) == "diloco: step: grad_scale = inf must be a number not below 0");
  CHECK(step({.grad_scale = -2}) == "diloco: step: grad_scale = -2 must be a number not below 0");
  CHECK(step({.tokens = -1}) == "diloco: step: tokens = -1 must be a number not below 0");
  CHECK(step({.tokens = std::numeric_limits<double>::quiet_NaN()}) ==
        "diloco: step: tokens = nan must be a number not below 0");
  CHECK(toy::state_of(t, m) == before);
  CHECK(t.steps() == 1);
  CHECK(step({}) == "no error");
  CHECK(t.steps() == 2);
  CHECK(toy::state_of(t, m) != before);
}

TEST_CASE("land: a mix outside [0, 1] is refused, and the flight is as good as before") {
  toy::model m({300}), twin({300});
  trainer t(recipe_in_order(), m.parameters()), u(recipe_in_order(), twin.parameters());
  t.step(m.gradients(0, 0));
  u.step(twin.gradients(0, 0));
  u.sync();
  auto flight = t.launch();
  auto const before = toy::state_of(t, m);
  auto const landed = t.try_land(std::move(flight), {.mix = 1.5f});
  CHECK(toy::sentence(toy::outcome_of(landed)) == "diloco: land: mix = 1.5 must be in [0, 1]");
  CHECK(t.rounds() == 0);
  CHECK(toy::state_of(t, m) == before);
  t.land(std::move(flight));
  CHECK(toy::state_of(t, m) == toy::state_of(u, twin));
}
