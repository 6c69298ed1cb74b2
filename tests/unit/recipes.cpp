// SPDX-License-Identifier: Apache-2.0
// Recipes of papers: replicas are equal after every round, and the identity that says what each one does.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/recipes/bmuf.hpp>
#include <diloco/recipes/data_parallel.hpp>
#include <diloco/recipes/diloco.hpp>
#include <diloco/recipes/distributed_lion.hpp>
#include <diloco/recipes/eager_diloco.hpp>
#include <diloco/recipes/fedopt.hpp>
#include <diloco/recipes/intellect_1.hpp>
#include <diloco/recipes/loco.hpp>
#include <diloco/recipes/noloco.hpp>
#include <diloco/recipes/opendiloco.hpp>
#include <diloco/recipes/qsgd.hpp>
#include <diloco/recipes/sign_sgd.hpp>
#include <diloco/recipes/slowmo.hpp>
#include <diloco/recipes/snoo.hpp>
#include <diloco/recipes/sparseloco.hpp>
#include <diloco/recipes/streaming_diloco.hpp>

#include <cmath>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{512, 70, 5000};

struct after {
  std::vector<float> t0;  // the caller's tensor
  std::vector<std::uint64_t> digests;
  std::string text;
};

/// Each rank after so many steps and a sync. Recipes with a gradient signal have no sync: each step is a round.
template <class Recipe>
std::vector<after> trained(int ranks, long steps, Recipe const& r, bool syncs = true) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    Recipe mine = r;
    DiLoCo t(std::move(mine).with_transport(std::move(transport)), m.parameters());
    after a;
    for (long step = 1; step <= steps; ++step) {
      t.step(m.gradients(rank, step));
      a.digests.push_back(t.digest());
    }
    if (syncs) t.sync(), a.digests.push_back(t.digest());
    a.t0 = m[0];
    a.text = t.describe();
    return a;
  });
}

/// Replicas are equal after every step, the model moved, and `describe` has the words.
void check_replicas(std::vector<after> const& all, std::string_view words) {
  CAPTURE(all[0].text);
  CHECK(all[0].text.find(words) != std::string::npos);
  toy::model start(sizes);
  CHECK(all[0].t0 != start[0]);
  for (after const& each : all) {
    CHECK(each.digests == all[0].digests);
    CHECK(each.t0 == all[0].t0);
    for (float const x : each.t0) CHECK(std::isfinite(x));
  }
}

template <class Recipe>
Recipe every_other(Recipe r) {
  r.schedule.inner_steps = 2;
  return r;
}

/// Gradient of one element of t0 on one rank, as `toy::model` gives it.
float gradient_of(int rank, long step, std::size_t i) {
  toy::model m(sizes);
  return m.gradients(rank, step)[0][i];
}

/// Its policies combine, and every number is in its range.
template <class Recipe>
bool is_valid(Recipe r) {
  auto complete = std::move(r).with_transport(alone{});
  using trainer = decltype(DiLoCo(std::move(complete), std::vector<tensor>{}));
  static_assert(sizeof(trainer) != 0);
  return detail::settings_error(complete).empty();
}

}  // namespace

TEST_CASE("recipes: numbers of those that are trained elsewhere") {
  CHECK(is_valid(recipes::diloco()));
  CHECK(is_valid(recipes::eager_diloco()));
  CHECK(is_valid(recipes::noloco()));
  CHECK(is_valid(recipes::fedopt(fedadam{}, 10)));
  CHECK(is_valid(recipes::fedopt(fedyogi{}, 10)));
  CHECK(is_valid(recipes::fedopt(fedadagrad{}, 10)));
  CHECK(is_valid(recipes::bmuf(8, 10)));
  CHECK(is_valid(recipes::bf16_hook(adamw{})));
  CHECK(is_valid(recipes::signum_majority()));
  CHECK(is_valid(recipes::ef_sign_sgd()));
  CHECK(is_valid(recipes::qsgd()));
}

TEST_CASE("recipes: rounds of pseudo-gradients") {
  check_replicas(trained(2, 5, every_other(recipes::opendiloco())), "adamw → nesterov · f16 (16 bit)");
  check_replicas(trained(2, 5, every_other(recipes::intellect_1())), "statistical256 (");
  check_replicas(trained(3, 5, every_other(recipes::sparseloco())), "+ error_feedback");
  auto streams = recipes::streaming_diloco();
  streams.schedule.inner_steps = 4, streams.schedule.parts = 2, streams.schedule.cut = sequential;
  check_replicas(trained(2, 9, streams), "streaming 2 fragments, every 4, landed 1 later, mix 0.5");
  check_replicas(trained(2, 5, recipes::slowmo(0.1f, 2)), "slowmo");
}

TEST_CASE("recipes: local SGD with one step is the mean of all steps") {
  auto const all = trained(3, 1, recipes::local_sgd(1), false);
  toy::model start(sizes);
  for (std::size_t i = 0; i < 32; ++i) {
    double mean = 0;
    for (int rank = 0; rank < 3; ++rank) mean += static_cast<double>(gradient_of(rank, 1, i)) / 3;
    CHECK(static_cast<double>(all[0].t0[i]) ==
          doctest::Approx(static_cast<double>(start[0][i]) - 0.01 * mean).epsilon(1e-6));
  }
}

TEST_CASE("recipes: SNOO of one worker displaces by lr / (1 − momentum) in all") {
  auto r = recipes::snoo().with_inner(plain_sgd{.lr = 0.1f});
  r.schedule.inner_steps = 1;
  toy::on_each_rank(1, [&](threads transport) {
    toy::model m({64});
    DiLoCo t(std::move(r).with_transport(std::move(transport)), m.parameters());
    float const from = m[0][3];
    std::vector<std::vector<float>> g(1, std::vector<float>(64, 0.5f));
    t.step(g);
    std::fill(g[0].begin(), g[0].end(), 0.0f);
    for (int step = 0; step < 200; ++step) t.step(g);
    CHECK(m[0][3] == doctest::Approx(from - 0.7f / 0.1f * 0.1f * 0.5f).epsilon(1e-4));
    return true;
  });
}

TEST_CASE("recipes: the 16-bit hook with numbers that 16 bits hold is data-parallel training") {
  auto const stepped = [&](auto r) {
    return toy::on_each_rank(2, [&](threads transport) {
      toy::model m({300});
      auto const rank = static_cast<float>(transport.rank());
      auto mine = r;
      DiLoCo t(std::move(mine).with_transport(std::move(transport)), m.parameters());
      std::vector<std::vector<float>> g(1, std::vector<float>(300));
      for (int step = 0; step < 4; ++step) {
        for (std::size_t i = 0; i < 300; ++i) g[0][i] = (rank + 1.0f) * 0.125f * static_cast<float>(i % 16);
        t.step(g);
      }
      return m[0];
    });
  };
  auto const plain = stepped(recipes::data_parallel(adamw{}));
  CHECK(stepped(recipes::fp16_hook(adamw{})) == plain);
  CHECK(plain[0] == plain[1]);
}

TEST_CASE("recipes: votes of signs") {
  auto const vote = [](int i) { return i > 0 ? 1.0 : i < 0 ? -1.0 : 0.0; };
  auto const signs = trained(3, 1, recipes::sign_sgd_majority(), false);
  auto const lion = trained(3, 1, recipes::distributed_lion(), false);
  auto const average = trained(3, 1, recipes::distributed_lion_average(), false);
  toy::model start(sizes);
  for (std::size_t i = 0; i < sizes[0]; ++i) {
    int sum = 0;
    for (int rank = 0; rank < 3; ++rank) sum += gradient_of(rank, 1, i) > 0 ? 1 : -1;
    double const from = static_cast<double>(start[0][i]);
    CHECK(static_cast<double>(signs[0].t0[i]) == doctest::Approx(from - 1e-3 * vote(sum)).epsilon(1e-6));
    double const decayed = from * (1 - 1e-4 * 0.1);  // from momentum 0, Lion's update is the sign of g
    CHECK(static_cast<double>(lion[0].t0[i]) == doctest::Approx(decayed - 1e-4 * vote(sum)).epsilon(1e-6));
    CHECK(static_cast<double>(average[0].t0[i]) == doctest::Approx(decayed - 1e-4 * sum / 3).epsilon(1e-6));
  }
  check_replicas(signs, "gradient by sign_vote/256 (1.");
  check_replicas(lion, "lion_update by sign_vote/256 (1.");
}

TEST_CASE("recipes: LoCo's 4-bit gradients follow the exact ones") {
  auto const exact = trained(2, 40, recipes::data_parallel(plain_sgd{.lr = 0.1f}), false);
  auto const loco = trained(2, 40, recipes::loco(plain_sgd{.lr = 0.1f}), false);
  auto bare = recipes::loco(plain_sgd{.lr = 0.1f}).with_feedback(no_feedback{});
  auto const without = trained(2, 40, bare, false);
  check_replicas(loco, "gradient by absmax4/128 (4.25 bit) + averaged_error");
  double error = 0, error_without = 0;
  for (std::size_t i = 0; i < sizes[0]; ++i) {
    error += std::pow(static_cast<double>(loco[0].t0[i] - exact[0].t0[i]), 2);
    error_without += std::pow(static_cast<double>(without[0].t0[i] - exact[0].t0[i]), 2);
  }
  CHECK(error < 0.5 * error_without);
}
