// SPDX-License-Identifier: Apache-2.0 Signals that are made of the gradient: each step is a round, and the
// outer optimizer steps θ.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 5000, 64};

auto sends(auto signal, auto outer) {
  return recipe<>{}.with_signal(signal).with_inner(none{}).with_outer(outer).with_schedule(every(1));
}

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

std::vector<std::uint32_t> theta_of(toy::model& m) {
  std::vector<std::uint32_t> all;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    for (float x : m[t]) all.push_back(bits_of(x));
  }
  return all;
}

/// Bits of θ after steps of one worker with a recipe.
template <class Recipe>
std::vector<std::uint32_t> alone_with(Recipe recipe, float grad_scale = 1) {
  toy::model m(sizes);
  DiLoCo t(std::move(recipe).with_transport(alone{}), m.parameters());
  for (long step = 1; step <= 7; ++step) t.step(m.gradients(0, step), {.grad_scale = grad_scale});
  return theta_of(m);
}

/// All ranks' θ and their residuals summed, after steps. Checks that all ranks hold the same θ after each
/// step.
template <class Recipe>
std::vector<std::uint32_t> together(int ranks, Recipe const& recipe, int alike = 0) {
  auto const all = toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(Recipe(recipe).with_transport(std::move(transport)), m.parameters());
    std::vector<std::uint64_t> digests;
    for (long step = 1; step <= 7; ++step) {
      t.step(m.gradients(alike == 0 ? rank : 0, step));
      digests.push_back(t.digest());
    }
    CHECK(t.rounds() == 7);
    auto const theta = theta_of(m);
    return std::pair(theta, digests);
  });
  for (auto const& each : all) CHECK((each == all[0]));
  return all[0].first;
}

}  // namespace

TEST_CASE("signals: one worker that sends exact gradients is its outer optimizer, bit for bit") {
  auto const inner = [](auto optimizer) { return recipe<>{}.with_inner(optimizer).with_schedule(manual{}); };
  CHECK(alone_with(sends(gradient{}, adamw{})) == alone_with(inner(adamw{})));
  CHECK(alone_with(sends(gradient{}, adamw{}), 0.5f) == alone_with(inner(adamw{}), 0.5f));
  CHECK(alone_with(sends(gradient{}, adamw{}).with_clip_norm(0.3f)) ==
        alone_with(inner(adamw{}).with_clip_norm(0.3f)));
  CHECK(alone_with(sends(gradient{}, sgd{.lr = 0.1f, .momentum = 0.9f})) ==
        alone_with(inner(sgd{.lr = 0.1f, .momentum = 0.9f})));
  CHECK(alone_with(sends(lion_update{}, plain_sgd{.lr = 0.01f})) == alone_with(inner(lion{.lr = 0.01f})));
  CHECK(alone_with(sends(momentum{.beta = 0.9f}, plain_sgd{.lr = 0.1f})) ==
        alone_with(inner(heavy_ball{.lr = 0.1f, .momentum = 0.9f})));
}

TEST_CASE("signals: workers that see the same are one, and all hold the same θ") {
  auto const check = [](auto const& recipe) {
    together(3, recipe);
    CHECK(together(4, recipe, 1) == alone_with(recipe));
  };
  for (pattern const exchange : toy::patterns) {
    check(sends(gradient{}, adamw{}).with_exchange(toy::chosen{exchange}));
    check(sends(momentum{}, plain_sgd{.lr = 0.1f}).with_exchange(toy::chosen{exchange}));
    together(3, sends(gradient{}, adamw{}).with_compressor(absmax<4>{}).with_exchange(toy::chosen{exchange}));
    together(3, sends(lion_update{}, plain_sgd{.lr = 0.01f})
                    .with_compressor(low_rank<2>{})
                    .with_exchange(toy::chosen{exchange}));
  }
  together(2, sends(gradient{}, adamw{}).with_compressor(absmax<8>{}).with_feedback(ef21{}));
  together(2, sends(gradient{}, nesterov{}).with_compressor(sign<>{}).with_feedback(averaged_error{}));
}

TEST_CASE("signals: data-parallel steps as by hand; an empty gradient counts as zeros") {
  toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes), by_hand(sizes), other(sizes);
    DiLoCo t(sends(gradient{}, plain_sgd{.lr = 0.5f}).with_transport(std::move(transport)), m.parameters());
    for (long step = 1; step <= 5; ++step) {
      auto const& mine = m.gradients(rank, step);
      auto const &g0 = by_hand.gradients(0, step), &g1 = other.gradients(1, step);
      std::vector<std::span<float const>> all(mine.begin(), mine.end());
      if (rank == 1) all[2] = {};
      t.step(all);
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        for (std::size_t k = 0; k < sizes[i]; ++k) {
          float const mean = diloco::fma(0.5f, i == 2 ? 0.0f : g1[i][k], 0.5f * g0[i][k]);
          by_hand[i][k] = diloco::fma(-0.5f, mean, by_hand[i][k]);
          REQUIRE(bits_of(m[i][k]) == bits_of(by_hand[i][k]));
        }
      }
    }
    return 0;
  });
}

TEST_CASE("signals: what was said and the residual add up to all gradients") {
  toy::model m(sizes), start(sizes);
  DiLoCo t(sends(gradient{}, plain_sgd{.lr = 1.0f}).with_compressor(absmax<4>{}).with_transport(alone{}),
           m.parameters());
  std::vector<std::vector<double>> sum;
  for (std::size_t n : sizes) sum.emplace_back(n);
  for (long step = 1; step <= 20; ++step) {
    auto const& g = m.gradients(0, step);
    t.step(g);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      for (std::size_t k = 0; k < sizes[i]; ++k) sum[i][k] += static_cast<double>(g[i][k]);
    }
  }
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto const e = t.cell("t" + std::to_string(i), "residual");
    for (std::size_t k = 0; k < sizes[i]; ++k) {
      double const said_so_far = static_cast<double>(start[i][k]) - static_cast<double>(m[i][k]);
      REQUIRE(std::abs(said_so_far + static_cast<double>(e[k]) - sum[i][k]) < 1e-5);
    }
  }
}

TEST_CASE("signals: bfloat16 tensors and gradients") {
  std::vector<bfloat16> x(600, nearest_bf16(1)), g(600, nearest_bf16(0.3f));
  std::vector<float> wide(600, 1.0f), slope(600, as_float(g[0]));
  std::vector<tensor> const narrow{{.name = "x", .shape = {600}, .bf16 = x.data()}},
      list{{"x", {600}, wide.data()}};
  DiLoCo t(sends(gradient{}, adamw{}).with_transport(alone{}), narrow);
  DiLoCo u(sends(gradient{}, adamw{}).with_transport(alone{}), list);
  for (int step = 0; step < 5; ++step) {
    t.step(std::vector<std::span<bfloat16 const>>{g});
    u.step(std::vector<std::span<float const>>{slope});
  }
  auto const theta = t.cell("x", "theta");
  CHECK(std::equal(theta.begin(), theta.end(), wide.begin()));
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(x[i].bits == nearest_bf16(wide[i]).bits);
}

TEST_CASE("signals: a rank that skips says nothing, and a round that is dropped changes nothing") {
  auto const digests = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(sends(momentum{}, adamw{}).with_compressor(absmax<4>{}).with_transport(std::move(transport)),
             m.parameters());
    auto const state = [&] {
      auto all = toy::state_of(t, m);
      for (tensor const& p : m.parameters()) {
        auto const cell = t.cell(p.name, "signal.m");
        for (float x : cell) all[p.name + " signal"].push_back(bits_of(x));
      }
      return all;
    };
    t.step(m.gradients(rank, 1));
    auto const residual = t.cell("t0", "residual")[0];
    if (rank == 0)
      t.step(m.gradients(rank, 2));
    else
      t.skip_step();
    CHECK(t.rounds() == 2);
    if (rank == 1) CHECK(t.cell("t0", "residual")[0] == residual);
    t.skip_step();  // all skip: no round, and no error
    CHECK(t.rounds() == 2);
    auto const before = state();
    auto& g = m.gradients(rank, 3);
    if (rank == 1) g[3][17] = 1e38f;
    auto const dropped = t.try_step(g);
    CHECK(said(dropped).find("rank 1: the momentum of 't3' is not finite or beyond") != std::string::npos);
    CHECK(dropped.step_taken());
    CHECK((state() == before));
    t.skip_step(5);  // tokens of a dropped round, or of a step without gradients, are not those of another
    CHECK(t.rounds() == 2);
    CHECK((state() == before));
    t.step(m.gradients(rank, 4));
    return t.digest();
  });
  CHECK(digests[0] == digests[1]);
}

TEST_CASE("signals: a rank whose clipped gradient is not finite says nothing") {
  auto const digests = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(sends(gradient{}, adamw{}).with_clip_norm(1).with_transport(std::move(transport)),
             m.parameters());
    auto& g = m.gradients(rank, 1);
    if (rank == 1) g[0][3] = std::nanf("");
    CHECK(said(t.try_step(g, {.skip_not_finite = true})) == "no error");
    CHECK(t.skipped() == (rank == 1));
    CHECK(t.rounds() == 1);
    return t.digest();
  });
  CHECK(digests[0] == digests[1]);
}

TEST_CASE("signals: what has no meaning is refused") {
  toy::model m(sizes);
  auto const made = [&](auto recipe) {
    auto complete = std::move(recipe).with_transport(alone{});
    return said(decltype(DiLoCo(complete, m.parameters()))::make(complete, m.parameters()));
  };
  CHECK(
      made(sends(gradient{}, adamw{}).with_schedule(every(2))) ==
      "diloco: schedule every: the signal gradient is the gradient of one step, so each step must launch and "
      "land all fragments; say every(1)");
  CHECK(made(sends(gradient{}, adamw{}).with_schedule(manual{})).find("say every(1)") != std::string::npos);
  CHECK(made(sends(gradient{}, adamw{}).with_schedule(streaming{.inner_steps = 4})).find("say every(1)") !=
        std::string::npos);
  CHECK(made(sends(momentum{.beta = 1}, adamw{})) == "diloco: signal momentum: beta = 1 must be in [0, 1)");
  CHECK(made(sends(gradient{}, adamw{}).with_inner_at_sync(at_sync::reset)) ==
        "diloco: inner_at_sync: none keeps no state here; say at_sync::keep");
  DiLoCo t(sends(gradient{}, adamw{}).with_transport(alone{}), m.parameters());
  t.step(m.gradients(0, 1));
  CHECK(said(t.try_sync()) ==
        "diloco: sync: each step of this trainer is a round, and sends the gradients that "
        "step() was given");
  CHECK(said(t.try_launch()).find("launch: each step of this trainer is a round") != std::string::npos);
  CHECK(said(t.try_step(m.gradients(0, 1), {.lr_scale = 0.5f})) ==
        "diloco: step: lr_scale = 0.5 is that of an inner step, and this trainer only sends the gradients; "
        "let the "
        "outer optimizer follow a schedule");
  CHECK(t.try_adopt());
  CHECK_FALSE(t.try_cell("t0", "anchor"));
  CHECK(t.footprint().state_bytes_per_parameter() < 8.1);  // m and v
}

/// signal.m and θ of a rank, after two steps and five that it skipped, or in which only t0 has a gradient.
template <class Signal>
void check_stays(Signal signal) {
  for (int ranks : {1, 2}) {
    for (bool skips : {true, false}) {
      toy::on_each_rank(ranks, [&](threads transport) {
        int const rank = transport.rank();
        toy::model m(sizes);
        DiLoCo t(sends(signal, plain_sgd{.lr = 0.1f}).with_transport(std::move(transport)), m.parameters());
        for (long step = 1; step <= 2; ++step) t.step(m.gradients(rank, step));
        auto const cell = t.cell("t2", "signal.m");
        std::vector<float> const before(cell.begin(), cell.end()), theta = m[2];
        std::vector<std::span<float const>> some(sizes.size());
        some[0] = m.gradients(rank, 3)[0];
        for (int step = 0; step < 5; ++step) {
          if (skips && rank == ranks - 1)
            t.skip_step();
          else
            t.step(some);
        }
        CHECK(std::ranges::equal(t.cell("t2", "signal.m"), before));
        CHECK(m[2] == theta);
        return 0;
      });
    }
  }
}
TEST_CASE("signals: a tensor without a gradient says nothing, and its state stays") {
  check_stays(momentum{});
  check_stays(lion_update{});
}

TEST_CASE("signals: θ beyond what the outer optimizer bears is refused at the start and by adopt") {
  std::vector<float> x(100, 3.3e38f);
  std::vector<tensor> const list{{"x", {100}, x.data()}};
  auto const r = sends(gradient{}, plain_sgd{.lr = 1}).with_transport(alone{});
  using trainer = decltype(DiLoCo(r, list));
  CHECK(said(trainer::make(r, list)).find("the parameter 'x' holds a value beyond 1.7014") !=
        std::string::npos);
  std::ranges::fill(x, 1.0f);
  trainer t(r, list);
  std::ranges::fill(x, 3.3e38f);
  CHECK(said(t.try_adopt()).find("adopt: the parameter 'x' holds a value beyond 1.7014") !=
        std::string::npos);
}

TEST_CASE("signals: θ that diverged ends in a sentence and not in Inf") {
  std::vector<float> x(100, 1e3f), g(100, -1e3f);
  std::vector<tensor> const list{{"x", {100}, x.data()}};
  DiLoCo t(sends(gradient{}, plain_sgd{.lr = 1e34f}).with_transport(alone{}), list);
  std::string last;
  for (int step = 0; step < 40 && (last.empty() || last == "no error"); ++step)
    last = said(t.try_step(std::vector<std::span<float const>>{g}));
  CHECK(last.find("θ of 'x' is beyond") != std::string::npos);
  for (float v : x) REQUIRE(std::isfinite(v));
  std::ranges::fill(x, 1.0f);
  CHECK(t.try_adopt());
  std::ranges::fill(g, 0.0f);
  CHECK(said(t.try_step(std::vector<std::span<float const>>{g})) == "no error");
  for (float v : x) REQUIRE(std::isfinite(v));
}
