// SPDX-License-Identifier: Apache-2.0
// Each optimizer on recorded gradients of a small tanh network, or on recorded displacements of it. The
// reference is PyTorch 1.13 or, if that has none, the papers' formulas in by_hand.py.

#include "family.hpp"
#include "fixture.hpp"
#include "support/executors.hpp"
#include "tolerance.hpp"

#include <doctest/doctest.h>
#include <diloco/diloco.hpp>

#include <algorithm>
#include <functional>

namespace {

using golden::fixture;
using golden::network;

/// The optimizer is the inner one in a world of one without rounds, so only the inner step runs.
template <class Optimizer>
auto make_trainer(Optimizer const& inner, network& model) {
  return diloco::DiLoCo(diloco::recipe<>{}
                            .with_inner(inner)
                            .with_transport(diloco::alone{})
                            .with_schedule(diloco::manual{})
                            .with_executor(support::main_executor{}),
                        model.tensors);
}

void check_parameters(fixture const& expected, std::string const& of, network const& model, int step,
                      double tolerance) {
  for (diloco::tensor const& t : model.tensors) {
    std::string const entry = of + "after." + std::to_string(step) + "." + t.name;
    CAPTURE(entry);
    CHECK(golden::distance(std::span(t.data, t.size()), expected[entry]) <= tolerance);
  }
}

/// State columns: their names in the trainer and in a fixture.
using slot_names = std::vector<std::pair<std::string, std::string>>;

/// `of` is the prefix of the answers' names if a fixture holds several optimizers.
template <class Optimizer>
void check_trajectory(Optimizer const& optimizer, fixture const& expected, std::string const& of,
                      slot_names const& slots) {
  constexpr auto tolerance = golden::tolerance_of<Optimizer>;
  network model(expected);
  auto trainer = make_trainer(optimizer, model);
  for (std::size_t step = 0; step < 100; ++step) {
    trainer.step(golden::gradients(expected, "grad", step));
    if (step + 1 == 1) check_parameters(expected, of, model, 1, tolerance.parameters_after_1);
    if (step + 1 == 10) check_parameters(expected, of, model, 10, tolerance.parameters_after_10);
  }
  check_parameters(expected, of, model, 100, tolerance.parameters_after_100);
  CHECK(trainer.steps() == 100);
  CHECK(trainer.rounds() == 0);

  for (auto const& [ours, theirs] : slots) {
    for (diloco::tensor const& t : model.tensors) {
      std::string const entry = of + "slot." + theirs + "." + t.name;
      CAPTURE(entry);
      CHECK(golden::distance(trainer.cell(t.name, "inner." + ours), expected[entry]) <= tolerance.slots);
    }
  }
}

template <class Optimizer>
void check_trajectory(Optimizer const& optimizer, fixture const& expected) {
  slot_names slots;
  for (std::string_view const slot : Optimizer::slots) slots.emplace_back(slot, slot);
  check_trajectory(optimizer, expected, "", slots);
}

diloco::sgd sgd_of(fixture const& f) {
  return {.lr = f.number("lr"),
          .momentum = f.number("momentum"),
          .nesterov = f.number("nesterov") != 0,
          .weight_decay = f.number("weight_decay")};
}

}  // namespace

TEST_CASE("golden: adamw follows torch.optim.AdamW") {
  fixture const f("adamw");
  check_trajectory(diloco::adamw{.lr = f.number("lr"),
                                 .beta1 = f.number("beta1"),
                                 .beta2 = f.number("beta2"),
                                 .eps = f.number("eps"),
                                 .weight_decay = f.number("weight_decay")},
                   f);
}

TEST_CASE("golden: adam follows torch.optim.Adam, decay through the moments") {
  fixture const f("adam");
  check_trajectory(diloco::adam{.lr = f.number("lr"),
                                .beta1 = f.number("beta1"),
                                .beta2 = f.number("beta2"),
                                .eps = f.number("eps"),
                                .weight_decay = f.number("weight_decay")},
                   f);
}

TEST_CASE("golden: sgd without momentum follows torch.optim.SGD") {
  fixture const f("sgd");
  check_trajectory(sgd_of(f), f, "", {});  // PyTorch keeps no buffer if the momentum is 0
  check_trajectory(diloco::plain_sgd{.lr = f.number("lr"), .weight_decay = f.number("weight_decay")}, f);
}

TEST_CASE("golden: sgd with momentum follows torch.optim.SGD") {
  fixture const f("sgd_momentum");
  check_trajectory(sgd_of(f), f);
}

TEST_CASE("golden: sgd with Nesterov momentum and weight decay follows torch.optim.SGD") {
  fixture const f("sgd_nesterov_decay");
  check_trajectory(sgd_of(f), f);
}

TEST_CASE("golden: sgd with dampening follows torch.optim.SGD, the first gradient undamped") {
  fixture const f("sgd_dampening");
  diloco::sgd damped = sgd_of(f);
  damped.dampening = f.number("dampening");
  check_trajectory(damped, f);
}

TEST_CASE("golden: lion follows its authors' formula") {
  fixture const f("lion");
  check_trajectory(diloco::lion{.lr = f.number("lr"),
                                .beta1 = f.number("beta1"),
                                .beta2 = f.number("beta2"),
                                .weight_decay = f.number("weight_decay")},
                   f);
}

TEST_CASE("golden: signum follows its authors' formula") {
  fixture const f("signum");
  check_trajectory(
      diloco::signum{
          .lr = f.number("lr"), .beta = f.number("beta"), .weight_decay = f.number("weight_decay")},
      f);
}

TEST_CASE(
    "golden: schedule_free_adamw follows the paper's three sequences, and finds the mean of the iterates") {
  fixture const f("schedule_free_adamw");
  diloco::schedule_free_adamw const optimizer{.lr = f.number("lr"),
                                              .beta1 = f.number("beta1"),
                                              .beta2 = f.number("beta2"),
                                              .eps = f.number("eps"),
                                              .weight_decay = f.number("weight_decay"),
                                              .warmup = static_cast<long>(f.number("warmup")),
                                              .r = f.number("r"),
                                              .weight_power = f.number("weight_power")};
  check_trajectory(optimizer, f, "", {{"v", "v"}});
  auto const& tolerance = golden::tolerance_of<diloco::schedule_free_adamw>;
  network model(f);
  auto trainer = make_trainer(optimizer, model);
  for (std::size_t step = 0; step < 100; ++step) trainer.step(golden::gradients(f, "grad", step));
  for (diloco::tensor const& y : model.tensors) {
    auto const ahead = trainer.cell(y.name, "inner.z_minus_y");
    std::vector<float> x(y.size()), z(y.size());
    std::transform(y.data, y.data + y.size(), ahead.begin(), x.begin(), optimizer.evaluation_point());
    std::transform(y.data, y.data + y.size(), ahead.begin(), z.begin(), std::plus<>{});
    CAPTURE(y.name);
    CHECK(golden::distance(x, f["slot.x." + y.name]) <= tolerance.parameters_after_100);
    CHECK(golden::distance(z, f["slot.z." + y.name]) <= tolerance.slots);
  }
}

TEST_CASE("golden: outer optimizers follow the papers' formulas, element by element") {
  fixture const f("family");
  auto const all = golden::outer_optimizers(f, "");
  CHECK(all.size() == 10);
  for (auto const& each : all) {
    std::string const& name = each.name;
    auto const& optimizer = each.optimizer;
    CAPTURE(name);
    slot_names slots;
    for (std::string_view const slot : optimizer.picked_slots()) {
      slots.emplace_back(optimizer.slots[slots.size()], slot);
    }
    check_trajectory(optimizer, f, name + ".", slots);
  }
}

TEST_CASE("golden: where the displacement is always zero, no outer optimizer moves a weight") {
  fixture const f("family");
  auto const& displacement = f["grad.w1"];
  for (std::size_t at = 3; at < displacement.size(); at += 4) REQUIRE(displacement[at] == 0.0f);
  for (auto const& each : golden::outer_optimizers(f, "")) {
    CAPTURE(each.name);
    network model(f);
    auto trainer = make_trainer(each.optimizer, model);
    for (std::size_t step = 0; step < 100; ++step) trainer.step(golden::gradients(f, "grad", step));
    for (std::size_t at = 3; at < 24; at += 4) CHECK(model.tensors[0].data[at] == f["start.w1"][at]);
  }
}

TEST_CASE("golden: a weight that never sees a gradient only decays") {
  auto const check = [](std::string const& name, auto const& optimizer) {
    CAPTURE(name);
    fixture const f(name);
    auto const& gradient = f["grad.w1"];
    for (std::size_t at = 3; at < gradient.size(); at += 4) REQUIRE(gradient[at] == 0.0f);
    network model(f);
    auto trainer = make_trainer(optimizer, model);
    for (std::size_t step = 0; step < 100; ++step) trainer.step(golden::gradients(f, "grad", step));
    double const keep = std::pow(1.0 - static_cast<double>(optimizer.lr * optimizer.weight_decay), 100);
    for (std::size_t at = 3; at < 24; at += 4)
      CHECK(model.tensors[0].data[at] / f["start.w1"][at] == doctest::Approx(keep).epsilon(1e-5));
  };
  check("adamw", diloco::adamw{.lr = 5e-3f, .weight_decay = 0.1f});
  check("lion", diloco::lion{.lr = 2e-3f, .weight_decay = 0.3f});
  check("signum", diloco::signum{.lr = 2e-3f, .weight_decay = 0.3f});
  check("sgd", diloco::plain_sgd{.lr = 0.05f, .weight_decay = 0.1f});
}

TEST_CASE("golden: ivon follows the formulas of its official implementation in NumPy") {
  fixture const f("ivon");
  diloco::ivon const o{.lr = f.number("lr"),
                       .ess = f.number("ess"),
                       .beta1 = f.number("beta1"),
                       .beta2 = f.number("beta2"),
                       .weight_decay = f.number("weight_decay"),
                       .h0 = f.number("h0"),
                       .clip_radius = f.number("clip_radius")};
  auto p = f["start"];
  std::size_t const n = p.size();
  std::vector<float> m(n), h(n);
  for (std::size_t t = 1; t <= 100; ++t) {
    auto const step = o.at({t, 1.0f});
    for (std::size_t i = 0; i < n; ++i) {
      float const seen = p[i] + f["z"][(t - 1) * n + i] * step.deviation(p[i], h[i]);
      auto const g = static_cast<float>(static_cast<double>(f["a"][i]) * std::sin(static_cast<double>(seen)));
      step(p[i], g, seen, m[i], h[i]);
    }
    if (t != 1 && t != 10 && t != 100) continue;
    CAPTURE(t);
    CHECK(golden::distance(p, f["after." + std::to_string(t) + ".p"]) <= (t == 1    ? 2e-7
                                                                          : t == 10 ? 2e-6
                                                                                    : 1e-5));
  }
  for (float& x : h) x += o.h0;
  CHECK(golden::distance(m, f["state.m"]) <= 1e-5);
  CHECK(golden::distance(h, f["state.h"]) <= 1e-5);
}
