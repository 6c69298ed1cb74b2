// SPDX-License-Identifier: Apache-2.0
// Three workers, one of which differs in one thing: every rank gets an error that names the thing and the rank, before
// round 0, and nobody waits for anybody.
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

template <class C = absmax<4>, class Exchange = gather, class Feedback = error_feedback, class Inner = adamw,
          class Outer = nesterov>
using trainer = DiLoCo<Inner, Outer, C, threads, Feedback, weighted_mean, Exchange, every, cpp, silent>;

using usual = trainer<>;

/// Makes `usual` on all ranks but one, where `make_odd(transport)` gives what making the odd one gives.
template <class MakeOdd>
std::vector<toy::outcome> with_odd_rank(int odd, MakeOdd&& make_odd) {
  return toy::on_each_rank(3, [&](threads transport) {
    if (transport.rank() == odd) return make_odd(std::move(transport));
    toy::model m({5, 300});
    return toy::outcome_of(usual::make({.transport = std::move(transport)}, m.parameters()));
  });
}

/// The odd rank has a trainer of the same type, with `change(recipe, model)` applied.
template <class Change>
std::vector<toy::outcome> with_change(int odd, Change&& change) {
  return with_odd_rank(odd, [&](threads transport) {
    toy::model m({5, 300});
    usual::recipe_type r{.transport = std::move(transport)};
    change(r, m);
    return toy::outcome_of(usual::make(std::move(r), m.parameters()));
  });
}

/// Or a trainer of another type.
template <class Other>
std::vector<toy::outcome> with_type(int odd) {
  return with_odd_rank(odd, [&](threads transport) {
    toy::model m({5, 300});
    return toy::outcome_of(Other::make({.transport = std::move(transport)}, m.parameters()));
  });
}

/// Every rank names the rank and the term, and says what it has itself.
void check(std::vector<toy::outcome> const& seen, int odd, std::string const& term, std::string const& usual_text,
           std::string const& odd_text) {
  // Rank 0 is the measure: where it is the odd one, rank 1 is the first to differ from it.
  std::string const named = std::to_string(odd == 0 ? 1 : odd);
  for (int rank = 0; rank < 3; ++rank) {
    toy::outcome const& o = seen[static_cast<std::size_t>(rank)];
    REQUIRE(o);
    CHECK(o->message == "diloco: contract: rank " + named + " and rank 0 disagree on the " + term + "; rank " +
                            std::to_string(rank) + " has " + (rank == odd ? odd_text : usual_text));
    CHECK(o->what == cause::disagreement);
    CHECK(o->rank == rank);
  }
}

}  // namespace

TEST_CASE("contract: equal ranks agree") {
  for (auto const& o : with_change(1, [](auto&, auto&) {})) CHECK(toy::sentence(o) == "no error");
}

TEST_CASE("contract: numbers of the policies") {
  std::string const usual_inner = "adamw lr=0.001 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0.01";
  for (int const odd : {0, 1, 2}) {
    check(with_change(odd, [](auto& r, auto&) { r.inner.lr = 2e-3f; }), odd, "inner optimizer", usual_inner,
          "adamw lr=0.002 beta1=0.9 beta2=0.999 eps=1e-08 weight_decay=0.01");
  }
  check(with_change(1, [](auto& r, auto&) { r.outer.lr = 0.6f; }), 1, "outer optimizer", "nesterov lr=0.7 momentum=0.9",
        "nesterov lr=0.6 momentum=0.9");
  check(with_change(2, [](auto& r, auto&) { r.outer.momentum = 0.8f; }), 2, "outer optimizer",
        "nesterov lr=0.7 momentum=0.9", "nesterov lr=0.7 momentum=0.8");
  check(with_change(2, [](auto& r, auto&) { r.feedback.decay = 0.5f; }), 2, "feedback", "error_feedback decay=1",
        "error_feedback decay=0.5");
  check(with_change(1, [](auto& r, auto&) { r.schedule = every(20); }), 1, "schedule", "every inner_steps=500",
        "every inner_steps=20");
}

TEST_CASE("contract: other policies altogether") {
  check(with_type<trainer<absmax<8>>>(1), 1, "compressor", "absmax4/256", "absmax8/256");
  check(with_type<trainer<absmax<4, 128>>>(2), 2, "compressor", "absmax4/256", "absmax4/128");
  check(with_type<trainer<absmax<4>, scatter_gather>>(1), 1, "exchange", "gather", "scatter_gather");
  check(with_type<trainer<absmax<4>, gather, no_feedback>>(0), 0, "feedback", "error_feedback decay=1", "no_feedback");
  check(with_type<trainer<absmax<4>, gather, error_feedback, adamw, plain_sgd>>(1), 1, "outer optimizer",
        "nesterov lr=0.7 momentum=0.9", "plain_sgd lr=0.01 weight_decay=0");
}

TEST_CASE("contract: number, names and shapes of the tensors") {
  check(with_change(2, [](auto&, toy::model& m) { m.parameters()[1].shape = {299}; }), 2, "tensors",
        "2 tensors of 305 elements in all", "2 tensors of 304 elements in all");
  check(with_change(2, [](auto&, toy::model& m) { m.parameters().pop_back(); }), 2, "tensors",
        "2 tensors of 305 elements in all", "1 tensors of 5 elements in all");
  std::string const second = "name, shape or group of tensor 1";
  check(with_change(1, [](auto&, toy::model& m) { m.parameters()[1].name = "other"; }), 1, second, "'t1' (300)",
        "'other' (300)");
  check(with_change(1,
                    [](auto&, toy::model& m) {
                      m.parameters()[1].shape = {3, 100};
                    }),
        1, second, "'t1' (300)", "'t1' (3, 100)");
  check(with_change(1, [](auto&, toy::model& m) { std::swap(m.parameters()[0], m.parameters()[1]); }), 1,
        "name, shape or group of tensor 0", "'t0' (5)", "'t1' (300)");
}

TEST_CASE("contract: one bit of the initial parameters") {
  auto const seen = with_change(1, [](auto&, toy::model& m) { m[1][299] = float_of(bits_of(m[1][299]) ^ 1u); });
  for (toy::outcome const& o : seen) {
    REQUIRE(o);
    std::string const start = "diloco: contract: rank 1 and rank 0 disagree on the initial values of 't1'; rank " +
                              std::to_string(o->rank) + " has values with the digest ";
    CHECK(o->message.substr(0, start.size()) == start);
    CHECK(o->what == cause::disagreement);
  }
  CHECK(seen[0]->message.substr(80) != seen[1]->message.substr(80));
}

TEST_CASE("contract: of several differences the first in the list is named") {
  auto const seen = with_change(2, [](auto& r, toy::model& m) {
    r.schedule = every(3);
    r.outer.lr = 0.25f;
    m[0][0] += 1;
  });
  check(seen, 2, "outer optimizer", "nesterov lr=0.7 momentum=0.9", "nesterov lr=0.25 momentum=0.9");
}

TEST_CASE("contract: a setting that is refused on one rank does not leave the others waiting") {
  auto const seen = with_change(1, [](auto& r, auto&) { r.schedule = every(0); });
  CHECK(toy::sentence(seen[1]) == "diloco: schedule every: inner_steps = 0 must be a number not below 1");
  CHECK(seen[1]->rank == 1);
  for (std::size_t const rank : {std::size_t{0}, std::size_t{2}}) {
    CHECK(toy::sentence(seen[rank]) == "diloco: threads: round 0: rank 1 left before its part of the exchange");
    CHECK(seen[rank]->what == cause::peer_lost);
  }
}
