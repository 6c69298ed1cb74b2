// SPDX-License-Identifier: Apache-2.0
// A tensor without a gradient in a step: it and its slots keep every bit, and the others step as if it were
// not there.
// Also lists of float32 and bfloat16 gradients, and what a step reports of itself and of its round.
#include "support/altering.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/linear_algebra/eigen.hpp>

#include <algorithm>
#include <map>

using namespace diloco;

namespace {

struct shaped {
  std::vector<float> a = std::vector<float>(24), b = a, ga = a, gb = a;
  shaped() {
    for (std::size_t i = 0; i < a.size(); ++i) {
      a[i] = toy::number(1, i), b[i] = toy::number(2, i);
      ga[i] = toy::number(3, i), gb[i] = toy::number(4, i);
    }
  }
  std::vector<tensor> both() { return {{"a", {4, 6}, a.data()}, {"b", {4, 6}, b.data()}}; }
};

template <class Trainer>
auto slots_of(Trainer const& t, char const* row) {
  std::map<std::string, std::vector<float>> all;
  for (char const* slot : {"inner.m", "inner.v", "inner.momentum", "inner.row_second_moment"}) {
    auto const c = toy::cell_or_none(t, row, slot);
    all[slot].assign(c.begin(), c.end());
  }
  return all;
}

template <class Inner>
void check(Inner const& inner) {
  CAPTURE(std::string(Inner::name));
  auto const recipe_of = [&] {
    return recipe<>{}.with_inner(inner).with_transport(alone{}).with_schedule(manual{});
  };
  shaped with, without;
  DiLoCo all(recipe_of(), with.both());
  DiLoCo one(recipe_of(), std::vector<tensor>{without.both()[1]});
  std::vector<std::span<float const>> g{with.ga, with.gb};
  all.step(g);
  one.step(std::vector<std::span<float const>>{without.gb});
  auto const before = with.a;
  auto const slots = slots_of(all, "a");
  CHECK(before != shaped().a);
  for (int step = 0; step < 3; ++step) {
    all.step(std::vector<std::span<float const>>{{}, with.gb});
    one.step(std::vector<std::span<float const>>{without.gb});
  }
  CHECK(with.a == before);
  CHECK(slots_of(all, "a") == slots);
  CHECK(with.b == without.b);
  CHECK(slots_of(all, "b") == slots_of(one, "b"));
  all.step(g);
  CHECK(with.a != before);
}

TEST_CASE("a tensor without a gradient stays, and the others do not notice") {
  check(adamw{});
  check(lion{});
  check(sgd{.momentum = 0.9f});
  check(adamw8bit<>{});
  check(adafactor{});
  check(muon<eigen>{});
}

TEST_CASE("soap: a tensor whose first gradient comes late is started with it") {
  shaped s;
  DiLoCo t(recipe<>{}
               .with_inner(soap<eigen>{.lr = 1e-3f, .weight_decay = 0.0f})
               .with_transport(alone{})
               .with_schedule(manual{}),
           s.both());
  auto const moved = [&](bool with) {
    auto const before = s.a;
    t.step(with ? std::vector<std::span<float const>>{s.ga, s.gb}
                : std::vector<std::span<float const>>{{}, s.gb});
    return s.a != before;
  };
  CHECK(!moved(false));
  CHECK(!moved(false));
  CHECK(!moved(true));  // the first gradient only initializes its matrices, as in step 1
  CHECK(moved(true));
  CHECK(!moved(false));
  CHECK(moved(true));
}

TEST_CASE("bfloat16 tensors without a gradient are not rounded anew") {
  auto const run = [](auto inner) {
    std::vector<bfloat16> a(24, bfloat16{bf16_from_float(0.7f)}), b = a;
    std::vector<float> g(24, 0.01f);
    DiLoCo t(recipe<>{}.with_inner(inner).with_transport(alone{}).with_schedule(manual{}).with_bf16_rounding(
                 rounding::stochastic),
             std::vector<tensor>{{.name = "a", .shape = {4, 6}, .bf16 = a.data()},
                                 {.name = "b", .shape = {4, 6}, .bf16 = b.data()}});
    t.step(std::vector<std::span<float const>>{g, g});
    std::vector<std::uint16_t> before, after;
    for (auto x : a) before.push_back(x.bits);
    for (int i = 0; i < 5; ++i) t.step(std::vector<std::span<float const>>{{}, g});
    for (auto x : a) after.push_back(x.bits);
    return before == after;
  };
  CHECK(run(adamw{}));
  CHECK(run(muon<eigen>{}));
  CHECK(run(adafactor{}));
  CHECK(run(adamw8bit<>{}));
}

TEST_CASE("ivon: a tensor without a gradient shows a sample that show_sample brings back") {
  shaped s;
  DiLoCo t(recipe<>{}.with_inner(ivon{}).with_transport(alone{}).with_schedule(manual{}), s.both());
  t.step(std::vector<std::span<float const>>{s.ga, s.gb});
  auto const theta = std::vector<float>(t.cell("a", "theta").begin(), t.cell("a", "theta").end());
  t.step(std::vector<std::span<float const>>{{}, s.gb});
  auto const now = t.cell("a", "theta");
  CHECK(std::equal(now.begin(), now.end(), theta.begin()));
  auto const a = s.a, b = s.b;
  t.show_mean();
  CHECK(s.a != a);
  t.show_sample();
  CHECK(s.a == a);
  CHECK(s.b == b);
}

TEST_CASE("a tensor without a gradient counts nothing in the norm that is clipped by") {
  shaped with, without;
  auto const recipe_of = [] {
    return recipe<>{}
        .with_inner(plain_sgd{})
        .with_transport(alone{})
        .with_schedule(manual{})
        .with_clip_norm(0.1f);
  };
  DiLoCo all(recipe_of(), with.both());
  DiLoCo one(recipe_of(), std::vector<tensor>{without.both()[1]});
  all.step(std::vector<std::span<float const>>{with.ga, with.gb});
  all.step(std::vector<std::span<float const>>{{}, with.gb});
  one.step(std::vector<std::span<float const>>{without.gb});
  CHECK(bits_of(all.gradient_norm()) == bits_of(one.gradient_norm()));
}

TEST_CASE("a step in which no tensor has a gradient is refused") {
  shaped s;
  DiLoCo t(recipe<>{}.with_transport(alone{}).with_schedule(manual{}), s.both());
  auto const r = t.try_step(std::vector<std::span<float const>>(2));
  CHECK(toy::sentence(toy::outcome_of(r)) ==
        "diloco: step: no tensor has a gradient; leave a step out with skip_step()");
  CHECK(!r.step_taken());
  CHECK(t.steps() == 0);
}

TEST_CASE("gradients of float32 and of bfloat16 in one list") {
  shaped s, wide;
  std::vector<bfloat16> narrow(24), g(24), also(24);
  for (std::size_t i = 0; i < 24; ++i) {
    also[i] = narrow[i] = bfloat16{bf16_from_float(s.a[i])};
    g[i] = bfloat16{bf16_from_float(s.ga[i])};
    wide.ga[i] = as_float(g[i]);
  }
  auto const recipe_of = [] { return recipe<>{}.with_transport(alone{}).with_schedule(manual{}); };
  auto const list = [](std::vector<bfloat16>& a, shaped& of) {
    return std::vector<tensor>{{.name = "a", .shape = {24}, .bf16 = a.data()}, {"b", {4, 6}, of.b.data()}};
  };
  DiLoCo mixed(recipe_of(), list(narrow, s)), plain(recipe_of(), list(also, wide));
  for (int step = 0; step < 3; ++step) {
    mixed.step(std::vector<gradient_view>{std::span(g), s.gb});
    plain.step(std::vector<std::span<float const>>{wide.ga, wide.gb});
  }
  CHECK(s.b == wide.b);
  CHECK(std::equal(narrow.begin(), narrow.end(), also.begin(),
                   [](auto x, auto y) { return x.bits == y.bits; }));
  CHECK(toy::sentence(toy::outcome_of(mixed.try_step(
            std::vector<gradient_view>{std::span<bfloat16 const>(g), std::span<bfloat16 const>(g)}))) ==
        "diloco: step: the gradient of 'b' is bfloat16 and the parameter float32; widen it");
}

TEST_CASE("a step stands whose round failed, and says so") {
  auto const seen = toy::on_each_rank(2, [&](threads end) {
    toy::model m({300});
    int const rank = end.rank();
    toy::trainer_of<adamw, nesterov, absmax<8>, altering> t(
        {.exchange = {}, .transport = altering(std::move(end)), .schedule = every(1)}, m.parameters());
    if (rank == 0) t.transport().next = altering::flip{1, 0, 900};
    auto const r = t.try_step(m.gradients(rank, 0));
    t.transport().next.reset();
    bool thrown = false;
    try {
      r.value();
    } catch (exception const& e) {
      thrown = e.details().step_taken && e.details().what == cause::corrupted;
    }
    bool const fine = r.step_taken() && r.round_failed() && !r && t.steps() == 1 && t.rounds() == 0 && thrown;
    auto const refused = t.try_step(std::vector<std::vector<float>>(3));
    return fine && !refused.step_taken() && !refused.round_failed() && !refused.error().step_taken &&
           t.steps() == 1 && t.try_step(m.gradients(rank, 1)).step_taken() && t.rounds() == 1;
  });
  CHECK(seen[0]);
  CHECK(seen[1]);
}

}  // namespace
