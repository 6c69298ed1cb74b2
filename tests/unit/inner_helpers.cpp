// SPDX-License-Identifier: Apache-2.0
// Features of every inner step: the learning-rate schedule, clipping by the global norm, skipped steps, and
// the fate of the state at a sync.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#if DILOCO_HAS_OMP
#include <diloco/executor/omp.hpp>
#endif

#include <algorithm>
#include <limits>

using namespace diloco;

namespace {

auto recipe_of(auto inner) {
  return recipe<>{}.with_inner(std::move(inner)).with_transport(alone{}).with_schedule(manual{});
}

/// The same model before and after. The tensors have unequal sizes on purpose.
std::vector<std::size_t> const sizes{5, 4097, 300};

}  // namespace

TEST_CASE("rates: values at the corners") {
  CHECK(constant_rate{}.factor(1) == 1.0f);
  warmup_cosine const cosine{.warmup = 4, .total = 12, .last = 0.1f};
  CHECK(cosine.factor(1) == 0.25f);
  CHECK(cosine.factor(3) == 0.75f);
  CHECK(cosine.factor(4) == 1.0f);
  CHECK(cosine.factor(8) == doctest::Approx(0.55));
  CHECK(cosine.factor(10) == doctest::Approx(0.1 + 0.9 * (1 - std::sqrt(0.5)) / 2));
  CHECK(cosine.factor(12) == 0.1f);
  CHECK(cosine.factor(1000) == 0.1f);
  CHECK(warmup_cosine{.warmup = 0, .total = 10}.factor(5) == doctest::Approx(0.5));
  warmup_stable_decay const stable{.warmup = 2, .decay = 4, .total = 10, .last = 0.2f};
  CHECK(stable.factor(1) == 0.5f);
  CHECK(stable.factor(2) == 1.0f);
  CHECK(stable.factor(6) == 1.0f);
  CHECK(stable.factor(8) == doctest::Approx(0.6));
  CHECK(stable.factor(10) == 0.2f);
  CHECK(stable.factor(11) == 0.2f);
  inverse_square_root const root{.warmup = 4};
  CHECK(root.factor(1) == 0.25f);
  CHECK(root.factor(4) == 1.0f);
  CHECK(root.factor(16) == 0.5f);
}

TEST_CASE("rates: what makes no schedule is refused") {
  CHECK(field_error("rate", warmup_cosine{.warmup = 5, .total = 5}) ==
        "diloco: rate warmup_cosine: total = 5 must be in (5, 9007199254740992]");
  CHECK(field_error("rate", warmup_cosine{.total = 1, .last = 2}) ==
        "diloco: rate warmup_cosine: last = 2 must be in [0, 1]");
  CHECK(field_error("rate", warmup_stable_decay{.warmup = 3, .decay = 4, .total = 6}) ==
        "diloco: rate warmup_stable_decay: total = 6 must be in [7, 9007199254740992]");
  CHECK(field_error("rate", inverse_square_root{.warmup = 0}) ==
        "diloco: rate inverse_square_root: warmup = 0 must be in [1, 9007199254740992]");
}

namespace {
/// Its factor is NaN in step 3, as after a division by zero, and negative from step 4 on.
struct broken_rate {
  static constexpr std::string_view name = "broken_rate";
  static constexpr rate_traits traits{};
  [[nodiscard]] float factor(std::uint64_t step) const {
    return step == 3 ? std::numeric_limits<float>::quiet_NaN() : step > 3 ? -1.0f : 1.0f;
  }
};
}  // namespace

TEST_CASE("rates: a factor that is no number, or negative, is an error before anything is written") {
  toy::model m(sizes);
  DiLoCo trainer(recipe_of(adamw{}).with_rate(broken_rate{}), m.parameters());
  for (int step = 0; step < 2; ++step) trainer.step(m.gradients(0, step));
  auto const before = toy::state_of(trainer, m);
  CHECK(toy::sentence(toy::outcome_of(trainer.try_step(m.gradients(0, 2)))) ==
        "diloco: step: the factor of broken_rate in step 3 is nan; it must be a number not below 0");
  CHECK(toy::state_of(trainer, m) == before);
  CHECK(trainer.try_sync());
}

TEST_CASE("rates: a recipe's rate is the lr_scale of each step, and multiplies the caller's") {
  warmup_cosine const rate{.warmup = 2, .total = 6};
  toy::model a(sizes), b(sizes);
  DiLoCo driven(recipe_of(adamw{}).with_rate(rate), a.parameters());
  DiLoCo by_hand(recipe_of(adamw{}), b.parameters());
  for (int step = 0; step < 6; ++step) {
    CHECK(driven.rate_factor() == rate.factor(static_cast<std::uint64_t>(step + 1)));
    driven.step(a.gradients(0, step), {.lr_scale = 0.5f});
    by_hand.step(b.gradients(0, step),
                 {.lr_scale = 0.5f * rate.factor(static_cast<std::uint64_t>(step + 1))});
  }
  CHECK(toy::state_of(driven, a) == toy::state_of(by_hand, b));
}

TEST_CASE("skip_step: the schedules go on, the bias correction does not") {
  inverse_square_root const rate{.warmup = 2};
  toy::model a(sizes), b(sizes);
  DiLoCo skipping(recipe_of(adamw{}).with_rate(rate), a.parameters());
  DiLoCo by_hand(recipe_of(adamw{}), b.parameters());
  skipping.step(a.gradients(0, 0));
  skipping.skip_step();
  skipping.step(a.gradients(0, 1));
  CHECK(skipping.steps() == 3);
  by_hand.step(b.gradients(0, 0), {.lr_scale = rate.factor(1)});
  by_hand.step(b.gradients(0, 1), {.lr_scale = rate.factor(3)});
  CHECK(toy::state_of(skipping, a) == toy::state_of(by_hand, b));
}

TEST_CASE("clip_norm: gradients are shortened to it over all tensors, as PyTorch does it") {
  toy::model a(sizes), b(sizes);
  DiLoCo clipped(recipe_of(sgd{.lr = 0.1f, .momentum = 0.9f}).with_clip_norm(0.5f), a.parameters());
  DiLoCo by_hand(recipe_of(sgd{.lr = 0.1f, .momentum = 0.9f}), b.parameters());
  for (int step = 0; step < 4; ++step) {
    float const scale = step % 2 == 0 ? 1.0f : 1e-3f;  // then nothing needs to be clipped
    auto& gradients = a.gradients(0, step);
    double sum = 0;
    for (auto const& g : gradients)
      for (float x : g) sum += double(x) * double(x);
    double const norm = double(scale) * std::sqrt(sum);
    clipped.step(gradients, {.grad_scale = scale});
    CHECK(double(clipped.gradient_norm()) == doctest::Approx(norm).epsilon(1e-6));
    CHECK((norm > 0.5) == (step % 2 == 0));
    by_hand.step(b.gradients(0, step),
                 {.grad_scale = static_cast<float>(double(scale) * std::min(1.0, 0.5 / (norm + 1e-6)))});
  }
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    for (std::size_t i = 0; i < sizes[t]; ++i) REQUIRE(a[t][i] == doctest::Approx(b[t][i]).epsilon(1e-6));
  }
}

#if DILOCO_HAS_OMP
TEST_CASE("clip_norm: norm and step have the same bits over any number of threads") {
  toy::model a({70000, 5}), b({70000, 5});
  DiLoCo one(recipe_of(adamw{}).with_clip_norm(0.5f), a.parameters());
  DiLoCo many(recipe_of(adamw{}).with_clip_norm(0.5f).with_executor(omp{}), b.parameters());
  for (int step = 0; step < 3; ++step) {
    one.step(a.gradients(0, step));
    many.step(b.gradients(0, step));
    CHECK(one.gradient_norm() == many.gradient_norm());
  }
  CHECK(toy::state_of(one, a) == toy::state_of(many, b));
}
#endif

TEST_CASE("clip_norm: magnitudes whose squares leave float do no harm") {
  for (float magnitude : {1e-30f, 1e30f}) {
    std::vector<float> w(1000, 1.0f), g(1000, magnitude);
    std::vector<tensor> const parameters{{"w", {1000}, w.data()}};
    DiLoCo trainer(recipe_of(plain_sgd{.lr = 1}).with_clip_norm(magnitude), parameters);
    trainer.step(std::vector<std::span<float const>>{g});
    CHECK(trainer.gradient_norm() == doctest::Approx(double(magnitude) * std::sqrt(1000.0)));
  }
}

TEST_CASE("clip_norm: a gradient that is not finite is named, and nothing is written") {
  toy::model m(sizes);
  DiLoCo trainer(recipe_of(adamw{}).with_clip_norm(1.0f), m.parameters());
  trainer.step(m.gradients(0, 0));
  auto const before = toy::state_of(trainer, m);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    auto& gradients = m.gradients(0, 1);
    gradients[1][4096] = bad;
    CHECK(toy::sentence(toy::outcome_of(trainer.try_step(gradients))) ==
          "diloco: step: the gradient of 't1' holds a value that is not finite");
    CHECK(toy::state_of(trainer, m) == before);
    CHECK(trainer.steps() == 1);
  }
  toy::model other(sizes);
  using type = decltype(trainer);
  CHECK(
      toy::sentence(toy::outcome_of(type::make(recipe_of(adamw{}).with_clip_norm(0), other.parameters()))) ==
      "diloco: clip_norm = 0 must be a number above 0");
}

TEST_CASE("skip_not_finite: the step is left out and counted, and the round still comes when it is due") {
  toy::model a(sizes), b(sizes);
  auto const rounds = recipe<>{}.with_inner(adamw{}).with_transport(alone{}).with_schedule(every(3));
  DiLoCo scaled(rounds, a.parameters()), plain(rounds, b.parameters());
  loss_scale scale{.scale = 1024, .growth_interval = 2};
  for (int step = 0; step < 4; ++step) {
    auto& gradients = a.gradients(0, step);
    for (auto& g : gradients)
      for (float& x : g) x *= scale.scale;
    if (step == 1) gradients[2][299] = std::numeric_limits<float>::infinity();
    scaled.step(gradients, {.grad_scale = scale.grad_scale(), .skip_not_finite = true});
    CHECK(scaled.skipped() == (step == 1));
    scale.update(scaled.skipped());
    CHECK(scale.scale == (step == 0 ? 1024 : step < 3 ? 512 : 1024));
    if (step == 1)
      plain.skip_step();
    else
      plain.step(b.gradients(0, step));
  }
  CHECK(scaled.rounds() == 1);
  CHECK(scaled.steps() == 4);
  CHECK(toy::state_of(scaled, a) == toy::state_of(plain, b));
}

TEST_CASE(
    "skip_not_finite: a round before which everybody skipped every step is no error, and the next one speaks "
    "for it") {
  auto const all = toy::on_each_rank(2, [](threads transport) {
    toy::model m(sizes);
    int const rank = transport.rank();
    DiLoCo trainer(recipe<>{}
                       .with_inner(sgd{.lr = 0.1f, .momentum = 0.9f})
                       .with_compressor(absmax<8>{})
                       .with_transport(std::move(transport))
                       .with_schedule(every(1)),
                   m.parameters());
    auto const start = toy::state_of(trainer, m);
    auto gradients = m.gradients(rank, 0);
    gradients[0][0] = std::numeric_limits<float>::infinity();
    auto const first = toy::sentence(toy::outcome_of(trainer.try_step(gradients, {.skip_not_finite = true})));
    bool const same = toy::state_of(trainer, m) == start && trainer.rounds() == 0;
    trainer.step(m.gradients(rank, 1), {.skip_not_finite = true});
    return std::tuple{first, same, trainer.rounds(), trainer.digest()};
  });
  for (auto const& [first, same, rounds, digest] : all) {
    CHECK(first == "no error");
    CHECK(same);
    CHECK(rounds == 1);
    CHECK(digest == std::get<3>(all[0]));
  }
}

TEST_CASE("skip_not_finite: an empty round does not hide that a later one lost its peer") {
  for (pattern which : toy::patterns) {
    auto const all = toy::on_each_rank(2, [&](threads transport) {
      toy::model m(sizes);
      int const rank = transport.rank();
      DiLoCo trainer(recipe<>{}
                         .with_inner(sgd{.lr = 0.1f, .momentum = 0.9f})
                         .with_exchange(toy::chosen{which})
                         .with_transport(std::move(transport))
                         .with_schedule(every(1))
                         .with_deadline_seconds(2),
                     m.parameters());
      auto const bad = std::vector<std::vector<float>>{std::vector<float>(sizes[0], HUGE_VALF),
                                                       m.gradients(rank, 0)[1], m.gradients(rank, 0)[2]};
      auto const first = toy::outcome_of(trainer.try_step(bad, {.skip_not_finite = true}));
      if (rank == 1) return std::pair{first.has_value(), true};  // this rank leaves
      auto const second = toy::outcome_of(trainer.try_step(bad, {.skip_not_finite = true}));
      return std::pair{first.has_value(), second.has_value()};
    });
    for (auto const& [first, second] : all) {
      CHECK_FALSE(first);
      CHECK(second);
    }
  }
}

TEST_CASE("skip_not_finite: what is not finite once it is scaled counts as well") {
  std::vector<float> w(300, 1.0f), g(300, 2e38f);
  DiLoCo trainer(recipe_of(plain_sgd{.lr = 1}), std::vector<tensor>{{"w", {300}, w.data()}});
  std::vector<std::span<float const>> const gradients{g};
  CHECK_FALSE(trainer.try_step(gradients, {.grad_scale = 10}));
  trainer.step(gradients, {.grad_scale = 10, .skip_not_finite = true});
  CHECK(trainer.skipped());
  CHECK(w[0] == 1.0f);
  CHECK(trainer.try_step(gradients, {.grad_scale = 1.5f}));
}

TEST_CASE("loss_scale: neither the scale nor its inverse leaves the normal numbers") {
  loss_scale s{.growth_interval = 1, .least = 0x1p-120f};
  for (int i = 0; i < 136; ++i) s.update(true);
  CHECK(s.scale == 0x1p-120f);
  CHECK_FALSE(s.try_update(true));
  for (int i = 0; i < 400; ++i) s.update(false);
  CHECK(s.scale == 0x1p120f);
  CHECK(field_error("step", loss_scale{.growth = 0.5f}) ==
        "diloco: step loss_scale: growth = 0.5 must be in [1, 1048576]");
  auto const updated = [](loss_scale bad) { bad.update(true); };
  CHECK_THROWS_WITH_AS(updated({.backoff = 2}), "diloco: rate loss_scale: backoff = 2 must be in (0, 1)",
                       exception);
  CHECK_THROWS_WITH_AS(updated({.growth = 0}), "diloco: rate loss_scale: growth = 0 must be in [1, 1048576]",
                       exception);
  CHECK_THROWS_WITH_AS(updated({.growth_interval = 0}),
                       "diloco: rate loss_scale: growth_interval = 0 must be a number not below 1",
                       exception);
}

TEST_CASE("loss_scale: skipping ends with an error where the scale would fall below its floor") {
  loss_scale s{.scale = 1, .growth_interval = 3, .steps_since = 1};
  for (int i = 0; i < 14; ++i) REQUIRE(s.try_update(true));
  CHECK(s.scale == 0x1p-14f);
  loss_scale const lowest = s;
  auto const said = s.try_update(true);
  REQUIRE_FALSE(said);
  CHECK(said.error().what == cause::not_finite);
  CHECK(
      said.error().message ==
      "diloco: rate loss_scale: gradients are not finite at a scale of 6.1035156e-05, and the next one is "
      "below "
      "least = "
      "6.1035156e-05; look for what makes them so, such as a learning rate that is too high, or lower least");
  CHECK(s == lowest);
  CHECK_THROWS_AS(s.update(true), exception);
  for (int i = 0; i < 3; ++i) s.update(false);  // the scale can decrease further
  CHECK(s.scale == 0x1p-13f);
  CHECK(s.steps_since == 0);
  s.least = 1;
  CHECK_THROWS_WITH_AS(s.update(false),
                       "diloco: rate loss_scale: scale = 0.00012207031 must be in [1, 1.329227995784916e+36]",
                       exception);
  loss_scale jump{.scale = 1, .backoff = 1e-6f};
  CHECK_FALSE(jump.try_update(true));  // never goes below, even at one bound
  CHECK(jump.scale == 1);
}

TEST_CASE("a gradient that the inner optimizer cannot square is refused, and with skip_not_finite skipped") {
  std::vector<float> x(300, 1.0f), g(300, 0.1f);
  std::vector<tensor> const one{{"w", {300}, x.data()}};
  DiLoCo trainer(recipe_of(adamw{}), one);
  g[7] = 1e20f;
  std::vector<std::span<float const>> const gradients{g};
  auto const start = x;
  auto const refused = trainer.try_step(gradients);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().what == cause::not_finite);
  CHECK(refused.error().message ==
        "diloco: step: the gradient of 'w' holds a value beyond 9.223372e+18, the largest that adamw "
        "bears; clip it, or lower grad_scale");
  CHECK(trainer.try_step(gradients, {.skip_not_finite = true}));
  CHECK(trainer.skipped());
  CHECK(x == start);
  CHECK(trainer.try_step(gradients, {.grad_scale = 1e-2f}));  // gradients of the loss times 100
  CHECK_FALSE(trainer.skipped());
  CHECK_FALSE(trainer.try_step(gradients, {.grad_scale = 0.5f}));
  g[7] = std::numeric_limits<float>::infinity();
  CHECK(trainer.try_step(gradients).error().message ==
        "diloco: step: the gradient of 'w' holds a value that is not finite");
  DiLoCo by_signs(recipe_of(lion{}), one);
  g[7] = 1e38f;
  CHECK(by_signs.try_step(gradients));
}

TEST_CASE("inner_at_sync: reset starts over, keep goes on") {
  toy::model kept(sizes), reset(sizes);
  DiLoCo keeps(recipe_of(adamw{}), kept.parameters());
  DiLoCo resets(recipe_of(adamw{}).with_inner_at_sync(at_sync::reset), reset.parameters());
  for (int step = 0; step < 3; ++step) {
    keeps.step(kept.gradients(0, step));
    resets.step(reset.gradients(0, step));
  }
  auto const before = toy::state_of(keeps, kept);
  keeps.sync();
  resets.sync();
  auto const after = toy::state_of(keeps, kept);
  CHECK(after.at("t1 inner.m") == before.at("t1 inner.m"));
  for (float x : resets.cell("t1", "inner.m")) REQUIRE(x == 0.0f);
  for (float x : resets.cell("t2", "inner.v")) REQUIRE(x == 0.0f);

  toy::model fresh(sizes);
  for (std::size_t t = 0; t < sizes.size(); ++t) fresh[t] = reset[t];
  DiLoCo starts(recipe_of(adamw{}), fresh.parameters());
  starts.step(fresh.gradients(0, 7));
  resets.step(reset.gradients(0, 7));
  for (std::size_t t = 0; t < sizes.size(); ++t) CHECK(fresh[t] == reset[t]);
}

TEST_CASE("inner_at_sync: average leaves every rank with the token-weighted mean of the slots") {
  for (pattern which : toy::patterns) {
    for (int ranks : {2, 3}) {
      CAPTURE(ranks);
      using trainer = DiLoCo<decltype(groups(group{named("t0"), lion{}}, group{the_rest, adamw{}})), nesterov,
                             absmax<8>, threads, error_feedback, weighted_mean, toy::chosen, manual>;
      struct seen {
        toy::bits before, after;
        std::size_t bytes;
      };
      auto const all = toy::on_each_rank(ranks, [&](threads transport) {
        toy::model m(sizes);
        int const rank = transport.rank();
        trainer t({.inner = groups(group{named("t0"), lion{}}, group{the_rest, adamw{}}),
                   .exchange = {which},
                   .transport = std::move(transport),
                   .inner_at_sync = at_sync::average},
                  m.parameters());
        for (int step = 0; step < 3; ++step) t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
        seen s{toy::state_of(t, m), {}, t.wire_bytes_per_round()};
        t.sync();
        s.after = toy::state_of(t, m);
        return s;
      });
      for (char const* cell : {"t0 inner.m", "t1 inner.m", "t1 inner.v", "t2 inner.v"}) {
        CAPTURE(cell);
        for (auto const& s : all) CHECK(s.after.at(cell) == all[0].after.at(cell));
        CHECK(all[0].before.at(cell) != all[0].after.at(cell));
        for (std::size_t i = 0; i < all[0].after.at(cell).size(); ++i) {
          double sum = 0, weights = 0;
          for (std::size_t k = 0; k < all.size(); ++k) {
            sum += (1.0 + double(k)) * double(float_of(all[k].before.at(cell)[i]));
            weights += 1.0 + double(k);
          }
          REQUIRE(double(float_of(all[0].after.at(cell)[i])) == doctest::Approx(sum / weights).epsilon(1e-5));
        }
      }
      CHECK(all[0].before.count("t0 inner.v") == 0);
      for (auto const& s : all) CHECK(s.after.at("t1 anchor") == all[0].after.at("t1 anchor"));
    }
  }
}

TEST_CASE(
    "inner_at_sync: average costs four bytes a slot and parameter on the wire, and nothing where it is not "
    "asked for") {
  toy::model a({4096}), b({4096});
  using trainer = DiLoCo<adamw, nesterov, absmax<8>, threads, error_feedback, weighted_mean, gather, manual>;
  auto const bytes = toy::on_each_rank(2, [](threads transport) {
    toy::model m({4096});
    int const rank = transport.rank();
    trainer t(
        {.transport = std::move(transport), .inner_at_sync = rank < 9 ? at_sync::average : at_sync::keep},
        m.parameters());
    return t.wire_bytes_per_round();
  });
  auto const without = toy::on_each_rank(2, [](threads transport) {
    toy::model m({4096});
    return trainer({.transport = std::move(transport)}, m.parameters()).wire_bytes_per_round();
  });
  CHECK(bytes[0] == without[0] + 2 * 4 * 4096);
}

TEST_CASE(
    "inner_at_sync: a round that falls through leaves the slots, and an inner state that is not finite is "
    "named") {
  using trainer = DiLoCo<sgd, nesterov, f32, threads, error_feedback, weighted_mean, toy::chosen, manual>;
  for (pattern which : toy::patterns) {
    auto const all = toy::on_each_rank(2, [&](threads transport) {
      toy::model m(sizes);
      int const rank = transport.rank();
      trainer t({.inner = sgd{.lr = 0, .momentum = 0.9f},
                 .exchange = {which},
                 .transport = std::move(transport),
                 .inner_at_sync = at_sync::average},
                m.parameters());
      auto& gradients = m.gradients(rank, 0);
      if (rank == 1) gradients[2][7] = 3e38f;
      for (int step = 0; step < 2; ++step) t.step(gradients);  // the buffer overflows, but θ does not move
      auto const before = toy::state_of(t, m);
      auto const said = toy::sentence(toy::outcome_of(t.try_sync()));
      return std::pair{said, toy::state_of(t, m) == before};
    });
    for (auto const& [said, same] : all) {
      CHECK(said.find("round 0: rank 1: the pseudo-gradient or the inner state of 't2' is not finite") !=
            std::string::npos);
      CHECK(same);
    }
  }
}

TEST_CASE(
    "inner_at_sync: after an average, ranks that skipped differently take the same step by the same "
    "gradient") {
  auto const all = toy::on_each_rank(2, [](threads transport) {
    toy::model m(sizes);
    int const rank = transport.rank();
    DiLoCo trainer(recipe<>{}
                       .with_inner(adamw{})
                       .with_transport(std::move(transport))
                       .with_schedule(manual{})
                       .with_inner_at_sync(at_sync::average),
                   m.parameters());
    for (int step = 0; step < 10; ++step) {
      if (rank == 1 && step < 9)
        trainer.skip_step();
      else
        trainer.step(m.gradients(rank, step));
    }
    trainer.sync();
    trainer.step(m.gradients(0, 99));
    return toy::state_of(trainer, m);
  });
  CHECK(all[0].at("t1 theta") == all[1].at("t1 theta"));
  CHECK(all[0].at("t1 inner.v") == all[1].at("t1 inner.v"));
}

TEST_CASE("inner_at_sync: of steps taken in flight as much survives in the slots as in θ") {
  for (float mix : {0.0f, 0.25f, 1.0f}) {
    toy::model m(sizes);
    DiLoCo trainer(recipe_of(sgd{.lr = 0.01f, .momentum = 0.9f}).with_inner_at_sync(at_sync::average),
                   m.parameters());
    trainer.step(m.gradients(0, 0));
    float const then = trainer.cell("t1", "inner.momentum")[7];
    auto flight = trainer.launch();
    trainer.step(m.gradients(0, 1));
    float const now = trainer.cell("t1", "inner.momentum")[7];
    trainer.land(std::move(flight), {.mix = mix});
    CHECK(trainer.cell("t1", "inner.momentum")[7] == doctest::Approx(then + mix * (now - then)));
    CHECK(now != then);
  }
}

TEST_CASE("settings that would do nothing are refused") {
  toy::model m(sizes);
  auto const said = [&](auto r) {
    using type = decltype(DiLoCo(std::move(r), m.parameters()));
    return toy::sentence(toy::outcome_of(type::make(std::move(r), m.parameters())));
  };
  CHECK(said(recipe_of(external{}).with_clip_norm(1)) ==
        "diloco: clip_norm: the framework steps by itself and must clip by itself; say no_clipping");
  CHECK(said(recipe_of(external{}).with_bf16_rounding(rounding::stochastic)) ==
        "diloco: bf16_rounding: the framework writes the tensors by itself; say rounding::nearest");
  CHECK(said(recipe_of(adamw{}).with_inner_at_sync(static_cast<at_sync>(7))) ==
        "diloco: inner_at_sync = 7 is none of keep, reset and average");
  CHECK(said(recipe_of(adafactor{}).with_inner_at_sync(at_sync::average)) ==
        "diloco: inner_at_sync: adafactor keeps state of whole tensors, which has no mean; say at_sync::keep "
        "or "
        "at_sync::reset");
  CHECK(said(recipe_of(adafactor{}).with_inner_at_sync(at_sync::reset)) == "no error");
  CHECK(said(recipe_of(adamw{}).with_rate(warmup_cosine{})) ==
        "diloco: rate warmup_cosine: total = 0 must be in (0, 9007199254740992]");
  DiLoCo counts(recipe_of(external{}), m.parameters());
  CHECK(
      toy::sentence(toy::outcome_of(counts.try_after_step(-1.0))).starts_with("diloco: step: tokens = -1 "));
}

TEST_CASE("describe: names the rate, the clipping and a reset") {
  toy::model m(sizes);
  DiLoCo trainer(recipe_of(adamw{})
                     .with_rate(inverse_square_root{})
                     .with_clip_norm(0.5f)
                     .with_inner_at_sync(at_sync::reset),
                 m.parameters());
  CHECK(
      trainer.describe().find("manual · inverse_square_root · clipped at 0.5 · inner state reset · state") !=
      std::string::npos);
}

TEST_CASE("inner_at_sync: without state there is nothing to reset or average") {
  toy::model m(sizes);
  using type = decltype(DiLoCo(recipe_of(external{}), m.parameters()));
  CHECK(toy::sentence(toy::outcome_of(
            type::make(recipe_of(external{}).with_inner_at_sync(at_sync::reset), m.parameters()))) ==
        "diloco: inner_at_sync: external keeps no state here; say at_sync::keep");
}
