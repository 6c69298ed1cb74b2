// SPDX-License-Identifier: Apache-2.0
// Each optimizer on recorded gradients of a small tanh network, against PyTorch 1.13 (Lion: the authors' formula).

#include "fixture.hpp"
#include "tolerance.hpp"

#include <doctest/doctest.h>
#include <diloco/diloco.hpp>

namespace {

using golden::fixture;
using golden::network;

/// As the inner optimizer of a world of one without rounds: only the inner step is at work.
template <class Optimizer>
auto make_trainer(Optimizer const& inner, network& model) {
  return diloco::DiLoCo(
      diloco::recipe<>{}.with_inner(inner).with_transport(diloco::alone{}).with_schedule(diloco::manual{}),
      model.tensors);
}

void check_parameters(fixture const& expected, network const& model, int step, double tolerance) {
  for (diloco::tensor const& t : model.tensors) {
    std::string const entry = "after." + std::to_string(step) + "." + t.name;
    CAPTURE(entry);
    CHECK(golden::distance(std::span(t.data, t.size()), expected[entry]) <= tolerance);
  }
}

template <class Optimizer>
void check_trajectory(Optimizer const& optimizer, fixture const& expected, std::string const& prefix) {
  constexpr auto tolerance = golden::tolerance_of<Optimizer>;
  network model(expected);
  auto trainer = make_trainer(optimizer, model);
  for (std::size_t step = 0; step < 100; ++step) {
    trainer.step(golden::gradients(expected, "grad", step));
    if (step + 1 == 1) check_parameters(expected, model, 1, tolerance.parameters_after_1);
    if (step + 1 == 10) check_parameters(expected, model, 10, tolerance.parameters_after_10);
  }
  check_parameters(expected, model, 100, tolerance.parameters_after_100);
  CHECK(trainer.steps() == 100);
  CHECK(trainer.rounds() == 0);

  if (prefix.empty()) return;
  for (std::string_view const slot : Optimizer::slots) {
    for (diloco::tensor const& t : model.tensors) {
      std::string const entry = prefix + std::string(slot) + "." + t.name;
      CAPTURE(entry);
      CHECK(golden::distance(trainer.cell(t.name, "inner." + std::string(slot)), expected[entry]) <= tolerance.slots);
    }
  }
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
                   f, "slot.");
}

TEST_CASE("golden: sgd without momentum follows torch.optim.SGD") {
  fixture const f("sgd");
  check_trajectory(sgd_of(f), f, "");
  check_trajectory(diloco::plain_sgd{.lr = f.number("lr"), .weight_decay = f.number("weight_decay")}, f, "");
}

TEST_CASE("golden: sgd with momentum follows torch.optim.SGD") {
  fixture const f("sgd_momentum");
  check_trajectory(sgd_of(f), f, "slot.");
}

TEST_CASE("golden: sgd with Nesterov momentum and weight decay follows torch.optim.SGD") {
  fixture const f("sgd_nesterov_decay");
  check_trajectory(sgd_of(f), f, "slot.");
}

TEST_CASE("golden: lion follows its authors' formula") {
  fixture const f("lion");
  check_trajectory(diloco::lion{.lr = f.number("lr"),
                                .beta1 = f.number("beta1"),
                                .beta2 = f.number("beta2"),
                                .weight_decay = f.number("weight_decay")},
                   f, "slot.");
}

TEST_CASE("golden: a weight that never sees a gradient only decays") {
  for (std::string const name : {"adamw", "lion", "sgd"}) {
    CAPTURE(name);
    fixture const f(name);
    auto const& gradient = f["grad.w1"];
    for (std::size_t at = 3; at < gradient.size(); at += 4) REQUIRE(gradient[at] == 0.0f);
    double const keep = std::pow(1.0 - static_cast<double>(f.number("lr") * f.number("weight_decay")), 100);
    for (std::size_t at = 3; at < 24; at += 4) {
      CHECK(f["after.100.w1"][at] == doctest::Approx(keep * static_cast<double>(f["start.w1"][at])).epsilon(1e-5));
    }
  }
}
