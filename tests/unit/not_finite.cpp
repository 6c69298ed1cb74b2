// SPDX-License-Identifier: Apache-2.0
// NaN, Inf and magnitudes that a message cannot represent are found and named, and nothing changes on any
// rank. After the repair, training has the bits of a run in which it never happened.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace diloco;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Sets one element during its lifetime.
class spoiled {
 public:
  spoiled(float& where, float what) : where_(where), before_(where) { where = what; }
  spoiled(spoiled const&) = delete;
  spoiled& operator=(spoiled const&) = delete;
  ~spoiled() { where_ = before_; }

 private:
  float& where_;
  float before_;
};

/// What one worker saw of a run with a bad round in the middle.
struct story {
  std::string first, second;  // the two attempts at the bad round
  cause what = cause::transport;
  std::uint64_t rounds = 0;
  bool unchanged = false, heard = false;
  toy::bits end;
};

template <class C>
using trainer = toy::trainer_of<adamw, nesterov, C, threads, cpp, counters>;

template <class C>
trainer<C> make(threads t, pattern exchange, toy::model& m) {
  m.parameters()[1].shape = {28, 25};
  m.parameters()[2].shape = {16, 16};
  return {{.exchange = {exchange}, .transport = std::move(t), .schedule = every(1000)}, m.parameters()};
}

template <class Trainer>
void one_round(Trainer& t, toy::model& m, int rank, long step) {
  t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
  t.sync();
}

/// Three workers. In round 1, rank 1 holds `bad` in one element of t1. The round is tried twice, then the
/// element is repaired and two rounds follow.
template <class C>
std::vector<story> with_a_bad_round(pattern exchange, float bad) {
  return toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({5, 700, 256});
    auto t = make<C>(std::move(transport), exchange, m);
    one_round(t, m, rank, 0);
    t.step(m.gradients(rank, 1), {.tokens = 1.0 + rank});
    story s;
    {
      float own = 0;
      spoiled const guard(rank == 1 ? m[1][300] : own, bad);
      auto const before = toy::state_of(t, m);
      auto const first = t.try_sync(), second = t.try_sync();
      s.unchanged = toy::state_of(t, m) == before && t.rounds() == 1 && t.steps() == 2;
      s.first = toy::sentence(toy::outcome_of(first));
      s.second = toy::sentence(toy::outcome_of(second));
      if (!first) s.what = first.error().what;
    }
    t.sync();
    one_round(t, m, rank, 2);
    s.rounds = t.rounds();
    s.heard = t.probe().aborted_rounds == 2 && t.probe().rounds == 3;
    s.end = toy::state_of(t, m);
    return s;
  });
}

template <class C>
std::vector<toy::bits> without_it(pattern exchange) {
  return toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({5, 700, 256});
    auto t = make<C>(std::move(transport), exchange, m);
    for (long step = 0; step < 3; ++step) one_round(t, m, rank, step);
    return toy::state_of(t, m);
  });
}

template <class C>
void check_bad_round(pattern exchange, float bad, std::string const& sentence) {
  CAPTURE(C::name);
  CAPTURE(static_cast<int>(exchange));
  CAPTURE(bad);
  auto const stories = with_a_bad_round<C>(exchange, bad);
  auto const clean = without_it<C>(exchange);
  for (std::size_t rank = 0; rank < stories.size(); ++rank) {
    CAPTURE(rank);
    CHECK(stories[rank].first == sentence);
    CHECK(stories[rank].second == sentence);
    CHECK(stories[rank].what == cause::not_finite);
    CHECK(stories[rank].unchanged);
    CHECK(stories[rank].rounds == 3);
    CHECK(stories[rank].heard);
    CHECK(stories[rank].end == clean[rank]);
  }
}

std::string dropped_sentence(std::string const& largest, std::string const& compressor) {
  return "diloco: round 1: rank 1: the pseudo-gradient of 't1' is not finite or beyond " + largest +
         ", the largest magnitude of " + compressor +
         "; the round is dropped on every rank and nothing was changed";
}

}  // namespace

TEST_CASE("a gradient that is not finite: named, and θ, slots and steps keep their bits") {
  using alone_trainer = toy::trainer_of<adamw, nesterov, absmax<4>, alone>;
  toy::model m({5, 700});
  alone_trainer t({.exchange = {}, .transport = alone{}, .schedule = every(3)}, m.parameters());
  t.step(m.gradients(0, 0));
  auto const before = toy::state_of(t, m);
  for (float const bad : {not_a_number, -not_a_number, infinity, -infinity}) {
    for (std::size_t const place : {std::size_t{0}, std::size_t{255}, std::size_t{256}, std::size_t{699}}) {
      auto& gradients = m.gradients(0, 1);
      gradients[1][place] = bad;
      auto const r = t.try_step(gradients);
      REQUIRE_FALSE(r);
      CHECK(r.error().message == "diloco: step: the gradient of 't1' holds a value that is not finite");
      CHECK(r.error().what == cause::not_finite);
    }
  }
  auto& both = m.gradients(0, 1);
  both[1][1] = both[0][1] = infinity;
  CHECK(t.try_step(both).error().message ==
        "diloco: step: the gradient of 't0' holds a value that is not finite");
  CHECK(toy::state_of(t, m) == before);
  CHECK(t.steps() == 1);
  t.step(m.gradients(0, 1));
  CHECK(t.steps() == 2);
}

TEST_CASE("a parameter that is not finite at construction") {
  using alone_trainer = toy::trainer_of<adamw, nesterov, f32, alone>;
  for (float const bad : {not_a_number, infinity, -infinity}) {
    toy::model m({5, 700});
    m[1][699] = bad;
    auto const r =
        alone_trainer::make({.exchange = {}, .transport = alone{}, .schedule = every(3)}, m.parameters());
    REQUIRE_FALSE(r);
    CHECK(r.error().message == "diloco: the parameter 't1' holds a value that is not finite");
    CHECK(r.error().what == cause::not_finite);
  }
}

TEST_CASE(
    "a parameter that is not finite at launch: the round is dropped on every rank and can be repeated") {
  for (pattern const exchange : toy::patterns) {
    for (float const bad : {not_a_number, -infinity}) {
      check_bad_round<absmax<4>>(exchange, bad, dropped_sentence("1.2152943e+37", "nesterov"));
      check_bad_round<f32>(exchange, bad, dropped_sentence("1.2152943e+37", "nesterov"));
    }
  }
}

TEST_CASE("a pseudo-gradient beyond what the wire can carry is an error, never saturated") {
  for (pattern const exchange : toy::patterns) {
    check_bad_round<f16>(exchange, 70000.0f, dropped_sentence("65504", "f16"));
    check_bad_round<f16>(exchange, -65536.0f, dropped_sentence("65504", "f16"));
    check_bad_round<bf16>(exchange, 3.4e38f, dropped_sentence("1.2152943e+37", "nesterov"));
  }
}

TEST_CASE("a round that is dropped leaves a staged compressor's memory as it was, own or agreed on") {
  for (pattern const exchange : toy::patterns) {
    check_bad_round<low_rank<2>>(exchange, not_a_number, dropped_sentence("1.0995116e+12", "low_rank2"));
    check_bad_round<low_rank<2, factors::common>>(exchange, infinity,
                                                  dropped_sentence("1.0995116e+12", "low_rank2/common"));
  }
}

TEST_CASE("the combined pseudo-gradient may overflow where no contribution did: dropped on every rank too") {
  // Between 32768 and 65504, binary16 has steps of 32. Round 0: the mean of 32800 and 32768 is sent as 32768,
  // and its owner keeps a residual of 16.
  // Round 1: both send 65504, the largest number of the format. Adding 16 exceeds it.
  auto const seen = toy::on_each_rank(2, [](threads transport) {
    int const rank = transport.rank();
    toy::model m({256, 256});
    for (float& x : m[1]) x = 0;
    trainer<f16> t(
        {.outer = {.lr = 0}, .exchange = {pattern::scatter_gather}, .transport = std::move(transport)},
        m.parameters());
    auto const ask = [&](float delta) {
      m[1][7] = -delta;
      t.step(m.gradients(rank, 0), {.lr_scale = 0});
      return t.try_sync();
    };
    bool const first = ask(rank == 0 ? 32800.0f : 32768.0f).has_value();
    auto const before = t.digest();
    auto const second = ask(65504.0f);
    bool const unchanged = t.digest() == before && t.rounds() == 1;
    bool const third = ask(65472.0f).has_value();
    return std::tuple{first, toy::sentence(toy::outcome_of(second)), unchanged, third};
  });
  for (auto const& [first, said, unchanged, third] : seen) {
    CHECK(first);
    CHECK(said ==
          "diloco: round 1: rank 1: the combined pseudo-gradient of 't1' is not finite or beyond 65504, the "
          "largest "
          "magnitude of f16; the round is dropped on every rank and nothing was changed");
    CHECK(unchanged);
    CHECK(third);
  }
}

TEST_CASE("all weights zero: there is no mean, on any rank; with a weight the round follows") {
  for (pattern const exchange : toy::patterns) {
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({5, 700, 256});
      auto t = make<absmax<8>>(std::move(transport), exchange, m);
      one_round(t, m, rank, 0);
      t.step(m.gradients(rank, 1), {.tokens = 0});
      auto const before = toy::state_of(t, m);
      auto const r = t.try_sync();
      bool const unchanged = toy::state_of(t, m) == before && t.rounds() == 1;
      t.step(m.gradients(rank, 2), {.tokens = rank == 2 ? 5.0 : 0.0});
      t.sync();
      return std::tuple{toy::outcome_of(r), unchanged, t.digest()};
    });
    for (auto const& [error, unchanged, digest] : seen) {
      REQUIRE(error);
      CHECK(
          error->message ==
          "diloco: round 1: the workers' weights (tokens) add up to 0; there is nothing to take the mean of "
          "(count steps with step or after_step)");
      CHECK(error->what == cause::bad_setting);
      CHECK(unchanged);
      CHECK(digest == std::get<2>(seen[0]));
    }
  }
}
