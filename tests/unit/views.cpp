// SPDX-License-Identifier: Apache-2.0
// show_mean and show_sample under schedule_free_adamw. The tensors show x, then y again with every bit. Calls
// that would mistake x for y are refused.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace diloco;

namespace {

constexpr schedule_free_adamw schedule_free{.lr = 0.05f, .weight_decay = 0.01f, .warmup = 3};

std::vector<float> gradient_at(std::vector<float> const& y, int step) {
  std::vector<float> g(y.size());
  for (std::size_t i = 0; i < g.size(); ++i)
    g[i] = y[i] - static_cast<float>((i + static_cast<std::size_t>(step)) % 5) * 0.25f;
  return g;
}
std::vector<float> start(std::size_t n) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 17) * 0.0625f - 0.4f;
  return x;
}
auto recipe_of(auto inner) {
  return recipe<>{}.with_inner(std::move(inner)).with_transport(alone{}).with_schedule(manual{});
}
auto spans(std::vector<float> const& g) { return std::vector<std::span<float const>>{g}; }
template <class Result>
std::string said(Result const& r) {
  return r ? "no error" : r.error().message;
}
template <class T>
std::vector<T> copy_of(std::span<T const> s) {
  return {s.begin(), s.end()};
}

}  // namespace

TEST_CASE("views: show_mean shows x, show_sample brings y back, and training goes on with the same bits") {
  std::size_t const n = 5000;
  std::vector<float> y = start(n), untouched = y;
  std::vector<tensor> const one{{"w", {n}, y.data()}}, other{{"w", {n}, untouched.data()}};
  DiLoCo trainer(recipe_of(schedule_free), one), plain(recipe_of(schedule_free), other);
  auto const state_bytes = trainer.footprint().state_bytes;
  trainer.show_sample();  // the tensors show it already
  for (int step = 1; step <= 12; ++step) {
    auto const g = gradient_at(untouched, step);
    trainer.step(spans(g));
    plain.step(spans(g));
    if (step % 4 == 0) {
      auto const d = copy_of(trainer.cell("w", "inner.z_minus_y"));
      trainer.show_mean();
      trainer.show_mean();
      for (std::size_t i = 0; i < n; ++i)
        REQUIRE(y[i] == schedule_free.evaluation_point()(untouched[i], d[i]));
      CHECK(y != untouched);
      CHECK(copy_of(trainer.cell("w", "theta")) == untouched);
      CHECK(copy_of(trainer.cell("w", "inner.z_minus_y")) == d);
      trainer.show_sample();
      trainer.show_sample();
    }
    if (step % 6 == 0) {
      trainer.sync();
      plain.sync();
    }
    REQUIRE(y == untouched);
    CHECK(trainer.cell("w", "theta").data() == y.data());
  }
  CHECK(copy_of(trainer.cell("w", "inner.v")) == copy_of(plain.cell("w", "inner.v")));
  CHECK(trainer.digest() == plain.digest());
  CHECK(plain.footprint().state_bytes == state_bytes);  // a run that never evaluates pays nothing
  CHECK(trainer.footprint().state_bytes >= state_bytes + 4 * n);
}

TEST_CASE("views: while the mean is shown, what would take it for θ is refused, and nothing is changed") {
  std::vector<float> y = start(300);
  auto const g = gradient_at(y, 1);
  std::vector<tensor> const one{{"w", {300}, y.data()}};
  DiLoCo trainer(recipe_of(schedule_free), one);
  trainer.step(spans(g));
  auto in_flight = trainer.launch();
  trainer.step(spans(g));
  auto const before = y;
  trainer.show_mean();
  auto const x = y;
  CHECK(said(trainer.try_step(spans(g))) ==
        "diloco: step: the tensors show the mean; call show_sample() before the gradients are taken");
  CHECK(said(trainer.try_skip_step()) ==
        "diloco: step: the tensors show the mean; call show_sample() before the gradients are taken");
  CHECK(said(trainer.try_land(std::move(in_flight), {.mix = 0.5f})) ==
        "diloco: land: the tensors show the mean; call show_sample() first");
  CHECK(y == x);
  CHECK(trainer.steps() == 2);
  trainer.show_sample();
  CHECK(y == before);
  trainer.land(std::move(in_flight), {.mix = 0.5f});
  CHECK(trainer.rounds() == 1);
  trainer.show_mean();
  CHECK(said(trainer.try_launch()) == "diloco: launch: the tensors show the mean; call show_sample() first");
  CHECK(said(trainer.try_sync()) == "diloco: sync: the tensors show the mean; call show_sample() first");
  trainer.show_sample();
  CHECK(trainer.try_sync());
}

TEST_CASE("views: a step that was refused for its gradient leaves y there, shown or not") {
  std::vector<float> y = start(300);
  auto g = gradient_at(y, 1);
  std::vector<tensor> const one{{"w", {300}, y.data()}};
  DiLoCo trainer(recipe_of(schedule_free), one);
  trainer.step(spans(g));
  auto const before = y;
  g[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_FALSE(trainer.try_step(spans(g)));
  trainer.show_mean();
  CHECK_FALSE(trainer.try_step(spans(g)));
  trainer.show_sample();
  CHECK(y == before);
}

TEST_CASE(
    "views: of groups, only those with another view change, and bfloat16 tensors get their very bits back") {
  for (rounding how : {rounding::nearest, rounding::stochastic}) {
    std::vector<bfloat16> w(600, {bf16_from_float(0.0f)});
    std::vector<float> v = start(700), u = start(40), s = start(100), gw(600, 0.3f), gv(700, 0.1f),
                       gu(40, 0.2f), gs(100, 0.1f);
    std::vector<tensor> const parameters{{.name = "w", .shape = {600}, .bf16 = w.data()},
                                         {"v", {700}, v.data()},
                                         {"u", {40}, u.data()},
                                         {"s", {100}, s.data()}};
    DiLoCo trainer(recipe_of(groups(group{named("u"), adamw{}}, group{named("s"), ivon{.ess = 100}},
                                    group{the_rest, schedule_free}))
                       .with_bf16_rounding(how),
                   parameters);
    std::vector<std::span<float const>> const gradients{gw, gv, gu, gs};
    for (int round = 0; round < 3; ++round) {
      for (int step = 0; step < 3; ++step) trainer.step(gradients);
      if (round == 1) trainer.sync();
      auto const w_before = w;
      auto const v_before = v, u_before = u, s_before = s;
      auto const theta = copy_of(trainer.cell("w", "theta"));
      trainer.show_mean();
      auto const differs = [](bfloat16 a, bfloat16 b) { return a.bits != b.bits; };
      CHECK(!std::equal(w.begin(), w.end(), w_before.begin(),
                        [&](bfloat16 a, bfloat16 b) { return !differs(a, b); }));
      CHECK(v != v_before);
      CHECK(u == u_before);
      CHECK(s != s_before);
      CHECK(copy_of(trainer.cell("w", "theta")) == theta);
      trainer.show_sample();
      for (std::size_t i = 0; i < w.size(); ++i) REQUIRE(w[i].bits == w_before[i].bits);
      CHECK(v == v_before);
      CHECK(u == u_before);
      CHECK(s == s_before);
      CHECK(copy_of(trainer.cell("w", "theta")) == theta);
    }
  }
}

TEST_CASE("views: what the caller wrote comes back, and draws of a step before the last") {
  for (rounding how : {rounding::nearest, rounding::stochastic}) {
    std::vector<bfloat16> a(256, nearest_bf16(1)), b = a;
    std::vector<float> const g(256, 0.37f);
    std::vector<tensor> const list{{.name = "a", .shape = {256}, .bf16 = a.data()},
                                   {.name = "b", .shape = {256}, .bf16 = b.data()}};
    DiLoCo t(recipe_of(schedule_free).with_bf16_rounding(how), list);
    t.step(std::vector<std::span<float const>>{g, g});
    t.step(std::vector<std::span<float const>>{g, {}});  // b shows the draws of the first step
    b[0] = nearest_bf16(5);
    auto const before = b;
    t.show_mean();
    t.show_sample();
    for (std::size_t i = 0; i < b.size(); ++i) REQUIRE(b[i].bits == before[i].bits);
    t.step(std::vector<std::span<float const>>{g, g});
    CHECK(t.cell("b", "theta")[0] > 4);
  }
}

TEST_CASE("slowmo: refuses a step of another inner rate, which its momentum is divided by") {
  std::vector<float> x = start(30), g(30, 0.5f);
  std::vector<tensor> const one{{"w", {30}, x.data()}};
  DiLoCo trainer(recipe_of(plain_sgd{.lr = 0.1f}).with_outer(slowmo{.inner_lr = 0.1f}), one);
  auto const before = x;
  for (float scale : {0.5f, 2.0f, 0.0f}) {
    auto const r = trainer.try_step(spans(g), {.lr_scale = scale});
    REQUIRE_FALSE(r);
    CHECK(r.error().what == cause::bad_setting);
    CHECK(r.error().message ==
          say({"diloco: step: lr_scale = ", scale,
               " changes the inner rate that slowmo divides by; leave it 1, or take heavy_ball for "
               "a momentum of displacements"}));
  }
  CHECK(x == before);
  CHECK(trainer.steps() == 0);
  CHECK(trainer.try_step(spans(g), {.lr_scale = 1.0f, .grad_scale = 0.5f}));
}
