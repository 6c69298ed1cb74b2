// SPDX-License-Identifier: Apache-2.0 Outer optimizers whose numbers change with the round: `scheduled` and
// `restarted`.
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 64};

/// θ after `rounds` rounds of 2 steps each, of one worker.
template <class Outer>
std::vector<float> trained(Outer outer, long rounds) {
  toy::model m(sizes);
  DiLoCo t(recipe<>{}
               .with_inner(plain_sgd{.lr = 0.1f})
               .with_outer(outer)
               .with_transport(alone{})
               .with_schedule(every(2)),
           m.parameters());
  for (long step = 1; step <= 2 * rounds; ++step) t.step(m.gradients(0, step));
  std::vector<float> all = m[0];
  all.insert(all.end(), m[1].begin(), m[1].end());
  return all;
}

}  // namespace

TEST_CASE("scheduled: the factor of round r is rate.factor(r)") {
  warmup_stable_decay const rate{.warmup = 3, .decay = 4, .total = 10, .last = 0.25f};
  scheduled const outer{nesterov{.lr = 0.8f}, rate};
  for (std::uint64_t round = 1; round <= 12; ++round) {
    CHECK(outer.at({round, 1.0f}).lr == 0.8f * rate.factor(round));
    CHECK(outer.at({round, 1.0f}).mu == 0.9f);
  }
  scheduled const both{nesterov{.lr = 0.8f}, constant_rate{}, rate};
  CHECK(both.at({1, 1.0f}).mu == 0.9f * rate.factor(1));
  CHECK(both.at({1, 1.0f}).lr == 0.8f);
  CHECK(trained(scheduled{nesterov{}, constant_rate{}}, 6) == trained(nesterov{}, 6));
  CHECK(trained(scheduled{nesterov{}, constant_rate{}, constant_rate{}}, 6) == trained(nesterov{}, 6));
  CHECK(trained(outer, 6) != trained(nesterov{.lr = 0.8f}, 6));
  // The second half of a ramp differs from the first only by its number: one round each.
  CHECK(trained(scheduled{plain_sgd{.lr = 1}, warmup_stable_decay{.warmup = 2, .decay = 1, .total = 9}}, 1) ==
        trained(plain_sgd{.lr = 0.5f}, 1));
}

TEST_CASE("restarted: a period of 1 has no momentum, and a period that is not reached changes nothing") {
  CHECK(trained(restarted{nesterov{}, 100}, 6) == trained(nesterov{}, 6));
  CHECK(trained(restarted{heavy_ball{.lr = 0.7f}, 1}, 6) == trained(plain_sgd{.lr = 0.7f}, 6));
  CHECK(trained(restarted{nesterov{}, 2}, 2) == trained(nesterov{}, 2));
  // Bias corrections begin anew, too.
  CHECK(trained(restarted{adamw{.lr = 0.1f}, 1}, 1) == trained(adamw{.lr = 0.1f}, 1));
  float p = 1, m = 0.3f, v = 0.4f, q = 1, m0 = 0, v0 = 0;
  restarted{adamw{}, 3}.at({4, 1.0f})(p, 0.5f, m, v);
  adamw{}.at({1, 1.0f})(q, 0.5f, m0, v0);
  CHECK(p == q);
  CHECK(trained(restarted{nesterov{}, 2}, 3) != trained(nesterov{}, 3));
}

TEST_CASE("scheduled: ranks compare its numbers, which have ranges") {
  auto const said = [](auto outer) {
    toy::model m(sizes);
    auto r = recipe<>{}.with_outer(outer).with_transport(alone{});
    auto const made = decltype(DiLoCo(r, m.parameters()))::make(r, m.parameters());
    return made ? std::string("no error") : made.error().message;
  };
  CHECK(said(scheduled{nesterov{.momentum = 1}, constant_rate{}}) ==
        "diloco: outer nesterov by constant_rate: optimizer.momentum = 1 must be in [0, 1)");
  CHECK(said(scheduled{nesterov{}, warmup_stable_decay{.warmup = 3, .decay = 2, .total = 4}}) ==
        "diloco: outer nesterov by warmup_stable_decay: rate.total = 4 must be in [5, 9007199254740992]");
  CHECK(said(restarted{nesterov{}, 0}) ==
        "diloco: outer restarted nesterov: period = 0 must be in [1, 9007199254740992]");
  // What does not go together in a policy does not within another either.
  CHECK(said(scheduled{sgd{.momentum = 0, .nesterov = true}, constant_rate{}})
            .find("nesterov needs a momentum above 0") != std::string::npos);
  CHECK(said(restarted{delayed_nesterov{.period = 4, .activation = 0.5f}, 8})
            .find("activation must be in [0, 1/period]") != std::string::npos);
  CHECK(said(restarted{scheduled{delayed_nesterov{}, warmup_stable_decay{.total = 20}}, 8}) == "no error");
}

namespace {
/// A rate of a user's own with a mistake in round 3.
struct broken {
  static constexpr std::string_view name = "broken";
  static constexpr rate_traits traits{.replicated = true};
  [[nodiscard]] float factor(std::uint64_t round) const { return round < 3 ? 1.0f : -1.0f; }
};
}  // namespace

TEST_CASE("scheduled: a factor that is none ends the run on all ranks, and anchors stay") {
  toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(recipe<>{}
                 .with_outer(scheduled{nesterov{}, broken{}})
                 .with_transport(std::move(transport))
                 .with_schedule(every(1)),
             m.parameters());
    for (long step = 1; step <= 2; ++step) t.step(m.gradients(rank, step));
    auto const before = t.digest();
    std::string const said = toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 3))));
    CHECK(said.find("outer nesterov by broken: the factor of round 3, counted from 1, is -1; it must be in "
                    "[0, 1]") != std::string::npos);
    CHECK(t.digest() == before);
    return 0;
  });
}

TEST_CASE("scheduled: slowmo's step follows the rate, and what it remembers does not") {
  inverse_square_root const rate{.warmup = 4};
  auto const slow = trained(scheduled{slowmo{.lr = 1, .momentum = 0.5f, .inner_lr = 0.25f}, rate}, 6),
             heavy = trained(scheduled{heavy_ball{.lr = 1, .momentum = 0.5f}, rate}, 6);
  for (std::size_t i = 0; i < slow.size(); ++i) CHECK(slow[i] == doctest::Approx(heavy[i]));
  CHECK(slow != trained(slowmo{.lr = 1, .momentum = 0.5f, .inner_lr = 0.25f}, 6));
}

TEST_CASE("scheduled: momenta that follow rates of two types are two policies") {
  auto const texts = toy::on_each_rank(2, [&](threads transport) {
    toy::model m(sizes);
    int const rank = transport.rank();
    auto const said = [&](auto outer) {
      auto r = recipe<>{}.with_outer(outer).with_transport(std::move(transport));
      return toy::sentence(toy::outcome_of(DiLoCo<adamw, decltype(outer), f32, threads>::make(
          {.outer = outer, .transport = std::move(r.transport)}, m.parameters())));
    };
    constant_rate const steady{};
    return rank == 0 ? said(scheduled{nesterov{}, steady, inverse_square_root{.warmup = 4}})
                     : said(scheduled{nesterov{}, steady, warmup_stable_decay{.warmup = 4, .total = 20}});
  });
  for (std::string const& text : texts) {
    CAPTURE(text);
    CHECK(text.find("nesterov by constant_rate, momentum by inverse_square_root") != std::string::npos);
  }
}
