// SPDX-License-Identifier: Apache-2.0
// Invalid lists of tensors and gradients. Each error message names the culprit.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <list>

using namespace diloco;

namespace {

using trainer = toy::trainer_of<adamw, nesterov, f32, alone>;
trainer::recipe_type recipe_in_order() {
  return {.exchange = {}, .transport = alone{}, .schedule = every(1000)};
}

float memory[64];

std::string made(std::vector<tensor> const& parameters) {
  return toy::sentence(toy::outcome_of(trainer::make(recipe_in_order(), parameters)));
}

}  // namespace

TEST_CASE("parameters: what is not a list of tensors") {
  CHECK(made({{"a", {4}, memory}, {"b", {2, 3}, memory + 4}, {"scalar", {}, memory + 10}}) == "no error");
  CHECK(made({}) == "diloco: parameters: the list of tensors is empty");
  CHECK(made({{"a", {4}, memory}, {"b", {0}, memory + 4}}) == "diloco: parameters: 'b' has no elements");
  CHECK(made({{"a", {4, 0, 2}, memory}}) == "diloco: parameters: 'a' has no elements");
  CHECK(made({{"a", {4}, nullptr}}) == "diloco: parameters: 'a' points to nothing");
  CHECK(made({{"a", {4}, memory}, {"b", {4}, memory + 4}, {"a", {4}, memory + 8}}) ==
        "diloco: parameters: the name 'a' is given twice");
  CHECK(made({{"a", {4}, memory}, {"", {4}, memory + 4}}) == "diloco: parameters: tensor 1 has no name");
}

TEST_CASE("parameters: the error names the rank that saw it") {
  auto const seen = toy::on_each_rank(3, [](threads t) {
    int const rank = t.rank();
    toy::model m({8});
    if (rank == 2) m.parameters()[0].data = nullptr;
    using on_threads = toy::trainer_of<adamw, nesterov, f32, threads>;
    return toy::outcome_of(on_threads::make({.exchange = {}, .transport = std::move(t)}, m.parameters()));
  });
  REQUIRE(seen[2]);
  CHECK(seen[2]->what == cause::bad_layout);
  CHECK(seen[2]->rank == 2);
  CHECK(seen[2]->message == "diloco: parameters: 't0' points to nothing");
  for (int const other : {0, 1}) {
    REQUIRE(seen[static_cast<std::size_t>(other)]);
    CHECK(seen[static_cast<std::size_t>(other)]->message ==
          "diloco: rank 2 refused: diloco: parameters: 't0' points to nothing");
  }
}

TEST_CASE("parameters: sizes are the product of the shape, and memory stays the caller's") {
  tensor const scalar{"s", {}, memory}, matrix{"m", {3, 7}, memory};
  CHECK(scalar.size() == 1);
  CHECK(matrix.size() == 21);
  toy::model m({3, 700});
  trainer t(recipe_in_order(), m.parameters());
  CHECK(t.cell("t1", "theta").data() == m[1].data());
  CHECK(t.cell("t1", "anchor").size() == 700);
  CHECK(t.cell("t1", "inner.v").size() == 700);
  CHECK_FALSE(t.try_cell("t1", "residual"));  // lossless: there is none
  CHECK_FALSE(t.try_cell("t1", "no such column"));
  CHECK_FALSE(t.try_cell("no such tensor", "anchor"));
}

TEST_CASE("gradients: wrong in number or size, and the step is not taken") {
  toy::model m({5, 300});
  trainer t(recipe_in_order(), m.parameters());
  t.step(m.gradients(0, 0));
  auto const before = toy::state_of(t, m);
  auto const step = [&](std::vector<std::vector<float>> const& g) {
    return toy::sentence(toy::outcome_of(t.try_step(g)));
  };
  CHECK(step({}) == "diloco: step: 0 gradients for 2 parameters");
  CHECK(step({std::vector<float>(5)}) == "diloco: step: 1 gradients for 2 parameters");
  CHECK(step({std::vector<float>(5), std::vector<float>(300), std::vector<float>(1)}) ==
        "diloco: step: 3 gradients for 2 parameters");
  CHECK(step({std::vector<float>(5), std::vector<float>(299)}) ==
        "diloco: step: the gradient of 't1' has 299 elements, the parameter 300");
  CHECK(step({std::vector<float>(300), std::vector<float>(5)}) ==
        "diloco: step: the gradient of 't0' has 300 elements, the parameter 5");
  std::vector<std::span<float const>> const nothing{m[0], {static_cast<float const*>(nullptr), 300}};
  CHECK(toy::sentence(toy::outcome_of(t.try_step(nothing))) ==
        "diloco: step: the gradient of 't1' points to nothing");
  CHECK(toy::state_of(t, m) == before);
  CHECK(t.steps() == 1);
}

TEST_CASE("gradients: any sized range of things that convert to spans") {
  toy::model m({5, 300}), twin({5, 300});
  trainer t(recipe_in_order(), m.parameters()), u(recipe_in_order(), twin.parameters());
  auto const& g = m.gradients(0, 0);
  t.step(g);
  u.step(std::list<std::span<float const>>{g[0], g[1]});
  CHECK(toy::state_of(t, m) == toy::state_of(u, twin));
}
