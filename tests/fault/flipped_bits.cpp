// SPDX-License-Identifier: Apache-2.0 One bit of one message flips on its way to one receiver. No member
// commits the round, all report it, and the trainers continue as if the round had not been tried.
// A vote is sent twice, so a flipped bit in it changes nothing.
#include "support/altering.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

constexpr int ranks = 3;
constexpr std::uint32_t leg_0 = 0, leg_1 = 1, leg_2 = 2, votes = 3;
constexpr std::size_t header_bits = 8 * sizeof(message_header);

/// After a step, a round with the flip and the same round again.
template <class Trainer>
void round_twice(Trainer& t, toy::model& m, long step, altering::flip flip, int receiver) {
  t.step(m.gradients(t.transport().rank(), step));
  auto const before = toy::state_of(t, m);
  std::uint64_t const digest = t.digest(), rounds = t.rounds();
  if (t.transport().rank() == receiver) t.transport().next = flip;
  toy::outcome const o = toy::outcome_of(t.try_sync());
  t.transport().next.reset();
  CAPTURE(flip.phase);
  CAPTURE(flip.bit);
  CAPTURE(t.transport().rank());
  if (flip.phase == votes) {  // each vote is sent twice
    CHECK(toy::sentence(o) == "no error");
    CHECK(t.rounds() == rounds + 1);
    return;
  }
  REQUIRE(o.has_value());
  CHECK(o->what == cause::corrupted);
  CHECK(o->message.find("the round is dropped on every rank and nothing was changed") != std::string::npos);
  CHECK(t.digest() == digest);
  CHECK(t.rounds() == rounds);
  CHECK((toy::state_of(t, m) == before));
  REQUIRE(t.try_sync());
}

template <class Compressor, class Feedback, class Exchange>
using trainer = DiLoCo<sgd, nesterov, Compressor, altering, Feedback, weighted_mean, Exchange, manual,
                       support::main_executor>;

template <class T>
T make(threads end, toy::model& m, typename T::recipe_type::exchange_type exchange = {}) {
  return T({.exchange = exchange, .transport = altering(std::move(end)), .schedule = manual{}},
           m.parameters());
}

/// Every bit of the header of each message, and many of the payload.
template <class Exchange>
void check_every_bit(std::vector<std::uint32_t> const& phases, std::size_t stride = 1) {
  using trained = trainer<absmax<4>, error_feedback, Exchange>;
  toy::on_each_rank(ranks, [&](threads end) {
    toy::model m({300, 41});
    auto t = make<trained>(std::move(end), m);
    long step = 0;
    for (std::uint32_t phase : phases) {
      bool const is_vote = phase == votes;
      for (std::size_t i = 0; i < (is_vote ? 2 * header_bits : header_bits + 400); i += stride) {
        std::size_t const bit =
            i < header_bits || is_vote ? i : header_bits + (i - header_bits) * 37 % (8 * 170);
        int const receiver = static_cast<int>(i % ranks),
                  from = (receiver + 1 + static_cast<int>(i / 3 % 2)) % ranks;
        round_twice(t, m, ++step, {from, phase, bit}, receiver);
      }
    }
    return t.digest();
  });
}

TEST_CASE("gather: every bit of a header, and bits of the payload") {
  check_every_bit<gather>({leg_0, votes});
}
TEST_CASE("scatter-gather: every bit of a header, and bits of the payload") {
  check_every_bit<scatter_gather>({leg_0, leg_1, votes});
}
TEST_CASE("scatter-gather with a second compressor: bits of a header and of the payload") {
  check_every_bit<scatter_gather_by<absmax<2>>>({leg_0, leg_1},
                                                7);  // the headers are those of scatter-gather
}

/// Of four ranks in groups of two: within a group, across groups, and what was forwarded.
TEST_CASE("two levels: bits of headers and payloads, every one of what is forwarded") {
  using trained = trainer<absmax<4>, error_feedback, two_level<absmax<2>>>;
  toy::on_each_rank(4, [&](threads end) {
    toy::model m({300, 280});
    auto t = make<trained>(std::move(end), m, {2, {}});
    long step = 0;
    for (std::uint32_t phase : {leg_0, leg_1, leg_2}) {
      // The first two legs have the messages of scatter-gather.
      for (std::size_t i = 0; i < header_bits + 200; i += phase == leg_2 ? 1 : 7) {
        std::size_t const bit = i < header_bits ? i : header_bits + (i - header_bits) * 97 % (8 * 150);
        int const receiver = static_cast<int>(i % 4), from = receiver ^ (phase == leg_1 ? 2 : 1);
        round_twice(t, m, ++step, {from, phase, bit}, receiver);
      }
    }
    return t.digest();
  });
}

/// Runs with and without dropped rounds in between have the same bits. So a dropped round left nothing behind
/// in residuals, estimates, an owner's residual or a compressor's memory.
template <class Compressor, class Feedback, class Exchange>
void check_no_trace(std::vector<std::uint32_t> const& phases, int world = ranks, Exchange exchange = {}) {
  CAPTURE(std::string(Compressor::name));
  CAPTURE(std::string(Feedback::name));
  CAPTURE(std::string(Exchange::name));
  auto const run = [&](bool flips) {
    return toy::on_each_rank(world, [&](threads end) {
      toy::model m({900, 64});
      auto t = make<trainer<Compressor, Feedback, Exchange>>(std::move(end), m, exchange);
      for (long step = 0; step < 6; ++step) {
        int const receiver = static_cast<int>(step) % world;
        std::uint32_t const phase = phases[static_cast<std::size_t>(step) % phases.size()];
        bool const grouped = grouping_exchange<Exchange>;
        int const from = grouped ? receiver ^ (phase == leg_1 ? 2 : 1) : (receiver + 1) % world;
        altering::flip const f{from, phase, header_bits - 3};
        if (flips) {
          round_twice(t, m, step, f, receiver);
        } else {
          t.step(m.gradients(t.transport().rank(), step));
          t.sync();
        }
      }
      return std::pair{toy::state_of(t, m), t.digest()};
    });
  };
  CHECK((run(true) == run(false)));
}

template <class Compressor, class... Feedback>
void check_exchanges() {
  (check_no_trace<Compressor, Feedback, gather>({leg_0, votes}), ...);
  (check_no_trace<Compressor, Feedback, scatter_gather>({leg_0, leg_1, votes}), ...);
}

TEST_CASE("a dropped round leaves no trace") {
  check_exchanges<absmax<4>, error_feedback, averaged_error, no_feedback>();
  check_no_trace<absmax<4>, ef21, gather>({leg_0, votes});
  check_exchanges<top_k<64>, error_feedback>();
  check_exchanges<low_rank<2>, error_feedback>();
  check_no_trace<absmax<4>, error_feedback, two_level<>>({leg_0, leg_1, leg_2}, 4, {2});
  check_no_trace<absmax<4>, ef21, two_level<>>({leg_0, leg_1, leg_2}, 4, {2});
  check_no_trace<top_k<64>, error_feedback, two_level<>>({leg_0, leg_1, leg_2}, 4, {2});
  check_no_trace<low_rank<2, factors::common>, error_feedback, two_level<>>({leg_0, leg_1, leg_2}, 4, {2});
  check_exchanges<f32, no_feedback>();
  check_exchanges<qsgd<4>, error_feedback>();
}

TEST_CASE("gossip: the pair drops the round and goes on to the next") {
  auto const seen = toy::on_each_rank(2, [&](threads end) {
    toy::model m({300});
    int const rank = end.rank();
    auto t = make<trainer<f32, no_feedback, gossip>>(std::move(end), m);
    std::vector<std::string> said;
    for (std::uint32_t phase : {leg_0, votes}) {
      t.step(m.gradients(rank, phase));
      if (rank == 1) t.transport().next = altering::flip{0, phase, header_bits - 1};
      said.push_back(toy::sentence(toy::outcome_of(t.try_sync())));
      t.transport().next.reset();
      if (phase == leg_0) t.sync();
    }
    return said;
  });
  CHECK(seen[1][0].find("the message of rank 0 arrived with other bits") != std::string::npos);
  CHECK(seen[0][0].find("rank 1 refused the round, because a message arrived there") != std::string::npos);
  CHECK((seen[0][1] == "no error" && seen[1][1] == "no error"));
}

}  // namespace
