// SPDX-License-Identifier: Apache-2.0
// Parameter groups. Only its group's optimizer steps a tensor, and no optimizer steps a frozen one. An
// incomplete or ambiguous grouping is refused before anything is written.
#include "support/row_mean.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace diloco;

namespace {

/// Tensors of several shapes with gradients.
struct shapes {
  std::vector<std::string> names{"h.0.w", "h.0.ln", "wte", "h.1.w", "h.1.ln"};
  std::vector<std::vector<std::size_t>> extents{{50, 100}, {7}, {30, 10}, {3, 5}, {4097}};
  std::vector<std::vector<float>> values, slopes;
  std::vector<tensor> tensors;
  explicit shapes(std::vector<std::size_t> const& which = {0, 1, 2, 3, 4}) {
    for (std::size_t t : which) {
      std::size_t const n = tensor{"", extents[t], nullptr}.size();
      values.emplace_back(n);
      slopes.emplace_back(n);
      for (std::size_t i = 0; i < n; ++i) {
        values.back()[i] = toy::number(t, i);
        slopes.back()[i] = toy::number(t + 100, i);
      }
    }
    for (std::size_t k = 0; k < which.size(); ++k)
      tensors.push_back({names[which[k]], extents[which[k]], values[k].data()});
  }
};

auto recipe_of(auto inner) {
  return recipe<>{}.with_inner(std::move(inner)).with_transport(alone{}).with_schedule(manual{});
}
std::string refusal(auto inner, shapes& s) {
  using trainer = decltype(DiLoCo(recipe_of(inner), s.tensors));
  return toy::sentence(toy::outcome_of(trainer::make(recipe_of(inner), s.tensors)));
}

}  // namespace

TEST_CASE("groups: named matches * and ?") {
  auto const matches = [](std::string_view pattern, std::string_view name) {
    return named(pattern)(name, {});
  };
  CHECK(matches("wte", "wte"));
  CHECK_FALSE(matches("wte", "wte2"));
  CHECK_FALSE(matches("wte", "wt"));
  CHECK(matches("*", ""));
  CHECK(matches("h.*.w", "h.12.w"));
  CHECK_FALSE(matches("h.*.w", "h.12.wb"));
  CHECK(matches("*ln*", "h.0.ln_1.weight"));
  CHECK(matches("h.?.w", "h.1.w"));
  CHECK_FALSE(matches("h.?.w", "h.12.w"));
  CHECK(matches("*a*b", "aabab"));
  CHECK_FALSE(matches("*a*b", "aabaa"));
  CHECK(matches("**", "x"));
  CHECK_FALSE(matches("", "x"));
}

TEST_CASE("groups: rules compose") {
  std::array<std::size_t, 2> const matrix{3, 4};
  std::array<std::size_t, 1> const vector{3};
  CHECK((matrices && named("a*"))("ab", matrix));
  CHECK_FALSE((matrices && named("a*"))("ab", vector));
  CHECK((vectors || named("b"))("b", matrix));
  CHECK_FALSE((!vectors)("b", vector));
  CHECK(vectors("scalar", {}));
  auto const own = [](std::string_view name, std::span<std::size_t const> s) {
    return name.size() == s.size();
  };
  CHECK((!tensor_rule<int>));
  CHECK(group{own, adamw{}}.rule("ab", matrix));
}

TEST_CASE("groups: every tensor takes the trajectory that its own optimizer alone would give it") {
  adamw const plain{.lr = 0.01f, .weight_decay = 0};
  lion const other{.lr = 0.02f, .weight_decay = 0.1f};
  shapes together;
  DiLoCo trainer(
      recipe_of(groups(group{named("h.*.w"), other}, group{vectors, plain}, group{the_rest, frozen{}})),
      together.tensors);
  shapes matrices_only({0, 3}), vectors_only({1, 4}), untouched({2});
  DiLoCo of_matrices(recipe_of(other), matrices_only.tensors);
  DiLoCo of_vectors(recipe_of(plain), vectors_only.tensors);
  auto const round = [](auto& t, shapes& s) {
    for (int i = 0; i < 3; ++i) t.step(s.slopes);
    t.sync();
    t.step(s.slopes);
  };
  round(trainer, together);
  round(of_matrices, matrices_only);
  round(of_vectors, vectors_only);
  CHECK(together.values[0] == matrices_only.values[0]);
  CHECK(together.values[3] == matrices_only.values[1]);
  CHECK(together.values[1] == vectors_only.values[0]);
  CHECK(together.values[4] == vectors_only.values[1]);
  CHECK(together.values[2] == untouched.values[0]);

  auto const equal = [](std::span<float const> a, std::span<float const> b) {
    return !a.empty() && std::equal(a.begin(), a.end(), b.begin(), b.end());
  };
  CHECK(equal(trainer.cell("h.1.w", "inner.m"), of_matrices.cell("h.1.w", "inner.m")));
  CHECK(equal(trainer.cell("h.1.ln", "inner.v"), of_vectors.cell("h.1.ln", "inner.v")));
  CHECK(equal(trainer.cell("h.1.ln", "anchor"), of_vectors.cell("h.1.ln", "anchor")));
  CHECK_FALSE(trainer.try_cell("h.0.w", "inner.v"));
  CHECK_FALSE(trainer.try_cell("wte", "inner.m"));
  CHECK_FALSE(trainer.try_cell("wte", "anchor"));
  CHECK(trainer.cell("wte", "theta").size() == 300);
  // Rows of both kinds share one aligned column here. Each of ten columns may differ by up to a cache line.
  std::size_t const apart = of_matrices.footprint().state_bytes + of_vectors.footprint().state_bytes;
  CHECK(trainer.footprint().state_bytes + 640 >= apart);
  CHECK(trainer.footprint().state_bytes <= apart + 640);
  CHECK(trainer.footprint().parameters ==
        of_matrices.footprint().parameters + of_vectors.footprint().parameters);
}

TEST_CASE("groups: a frozen tensor needs no gradient, and a wrong one of the others is still seen") {
  shapes s;
  DiLoCo trainer(recipe_of(groups(group{named("wte"), frozen{}}, group{the_rest, plain_sgd{}})), s.tensors);
  std::vector<std::span<float const>> gradients(s.slopes.begin(), s.slopes.end());
  gradients[2] = {};
  CHECK(trainer.try_step(gradients));
  gradients[3] = {};
  CHECK(trainer.try_step(gradients));
  gradients[3] = std::span(s.slopes[3]).first(14);
  CHECK(toy::sentence(toy::outcome_of(trainer.try_step(gradients))) ==
        "diloco: step: the gradient of 'h.1.w' has 14 elements, the parameter 15");
}

TEST_CASE("groups: an optimizer over whole tensors gets each as a matrix, with its own memory") {
  shapes s, before;
  DiLoCo trainer(recipe_of(groups(group{matrices, toy::row_mean{}}, group{the_rest, plain_sgd{.lr = 0}}))
                     .with_clip_norm(1e6f),
                 s.tensors);
  for (int i = 0; i < 2; ++i) trainer.step(s.slopes, {.lr_scale = 0.5f, .grad_scale = 2.0f});
  for (std::size_t t : {0u, 2u, 3u}) {
    std::size_t const columns = s.extents[t][1];
    for (std::size_t row = 0; row < s.extents[t][0]; ++row) {
      double mean = 0;
      for (std::size_t j = 0; j < columns; ++j)
        mean += 2.0 * double(s.slopes[t][row * columns + j]) / double(columns);
      double const moved = double(before.values[t][row * columns]) - double(s.values[t][row * columns]);
      CHECK(moved == doctest::Approx(0.1 * 0.5 * (mean + 2 * mean)).epsilon(1e-4));
    }
    CHECK(trainer.cell(s.names[t], "inner.last")[0] == 2.0f);
  }
  CHECK(s.values[1] == before.values[1]);
}

TEST_CASE("groups: what does not fit is one sentence") {
  shapes s;
  adamw const a;
  CHECK(refusal(groups(group{matrices, a}), s) ==
        "diloco: inner: no group wants 'h.0.ln' (7); widen a rule, or add group{the_rest, …}");
  CHECK(refusal(groups(group{matrices, a}, group{named("h.*"), lion{}}, group{the_rest, a}), s) ==
        "diloco: inner: groups 0 and 1 both want 'h.0.w' (50, 100); narrow one of their rules");
  CHECK(refusal(groups(group{named("nobody"), lion{}}, group{the_rest, a}), s) ==
        "diloco: inner: group 0 (lion) wants none of the tensors");
  CHECK(refusal(toy::row_mean{}, s) == "diloco: inner: row_mean: 'h.0.ln' (7) is no matrix");
  CHECK(refusal(groups(group{named("*w*"), a}, group{the_rest, toy::row_mean{}}), s) ==
        "diloco: inner: row_mean: 'h.0.ln' (7) is no matrix");
  CHECK(refusal(groups(group{the_rest, frozen{}}), s) == "diloco: parameters: every tensor is frozen");
  CHECK(refusal(groups(group{matrices, a}, group{the_rest, lion{.beta1 = 2}}), s) ==
        "diloco: inner adamw+lion: lion[1].beta1 = 2 must be in [0, 1)");
  CHECK(refusal(groups(group{matrices, a}, group{the_rest, sgd{.nesterov = true}}), s) ==
        "diloco: inner adamw+sgd: sgd[1]: " + std::string(sgd{.nesterov = true}.validation_error()));
}

TEST_CASE("groups: ranks must group alike") {
  auto const worlds = std::array<char const*, 2>{"*w*", "h.0.*"};
  threads_world world(2);
  std::array<std::string, 2> said;
  run_threads(2, [&](threads transport) {
    shapes s;
    auto const rank = static_cast<std::size_t>(transport.rank());
    auto r = recipe<>{}
                 .with_inner(groups(group{named(worlds[rank]), adamw{}}, group{the_rest, adamw{}}))
                 .with_transport(std::move(transport))
                 .with_schedule(manual{});
    using trainer = decltype(DiLoCo(std::move(r), s.tensors));
    said[rank] = toy::sentence(toy::outcome_of(trainer::make(std::move(r), s.tensors)));
  });
  CHECK(said[1] ==
        "diloco: contract: rank 1 and rank 0 disagree on the name, shape or group of tensor 1; rank 1 has "
        "'h.0.ln' (7) "
        "in group 0 and rank 0 has 'h.0.ln' (7) in group 1; give all ranks the same");
  CHECK(said[0] == said[1]);
}
