// SPDX-License-Identifier: Apache-2.0
// If one rank cannot read a message, no rank commits the round.
#include "support/altering.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <limits>

using namespace diloco;

namespace {

TEST_CASE("a message header whose weight is no number of tokens") {
  for (double weight :
       {-1.0, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    message_header sent;
    sent.rank = 3;
    sent.weight = weight;
    CHECK(header_error(sent, message_header{}, 3) ==
          say({"rank 3 sent the weight ", weight, ", which counts nothing"}));
  }
}

TEST_CASE("what one rank refuses, no rank commits, and each says who refused") {
  for (pattern const exchange : toy::patterns) {
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({9000, 5000});
      toy::trainer_of<adamw, nesterov, absmax<8>, altering> t(
          {.exchange = {exchange}, .transport = altering(std::move(transport)), .schedule = every(1)},
          m.parameters());
      t.step(m.gradients(rank, 0));
      auto const before = t.digest();
      if (rank == 0) t.transport().next = altering::flip{1, 0, 0};
      std::string const said = toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 1))));
      return std::tuple{said, t.digest() == before, t.rounds()};
    });
    std::string const end = "; the round is dropped on every rank and nothing was changed";
    CHECK(std::get<0>(seen[0]) ==
          "diloco: round 1: the message of rank 1 arrived with other bits than it was sent with" + end);
    for (int rank : {1, 2}) {
      CHECK(std::get<0>(seen[static_cast<std::size_t>(rank)]) ==
            "diloco: round 1: rank 0 refused the round, because a message arrived there with other bits than "
            "it was sent with" +
                end);
    }
    for (auto const& [said, unchanged, rounds] : seen) {
      CHECK(unchanged);
      CHECK(rounds == 1);
    }
  }
}

TEST_CASE("a message of another program, of another run, and of a rank with another history") {
  message_header sent, own;
  sent.rank = 3;
  CHECK(header_error(sent, own, 3).empty());
  sent.run = 5;
  CHECK(header_error(sent, own, 3) == "rank 3 belongs to another run; give each run its own transport");
  sent.run = 0;
  sent.round = own.round = 7;
  sent.last_round = 6;
  own.last_round = 5;
  CHECK(header_error(sent, own, 3) ==
        "rank 3 committed round 6 last, this rank round 5; save one of them and start all ranks from it");
  own.last_round = message_header::no_round;
  CHECK(header_error(sent, own, 3) ==
        "rank 3 committed round 6 last, this rank no round; save one of them and start all ranks from it");
  own.last_round = 6;
  own.history = 1;
  CHECK(header_error(sent, own, 3) ==
        "rank 3 committed other messages than this rank up to round 6; save one of them and start all ranks "
        "from it");
  sent.refused = 1;  // a rank that refuses may not know
  CHECK(header_error(sent, own, 3).empty());
  CHECK(header_error({.magic = 0, .version = 0}, own, 3) == "rank 3 sent no diloco message header");
  CHECK(!was_altered({.magic = 0, .version = 0}, 1));
  CHECK(was_altered({.version = 0}, 1));
}

TEST_CASE("layout: memory given twice, and a shape that no memory holds") {
  std::vector<float> memory(10);
  auto const said = [&](std::vector<tensor> const& parameters) {
    using trainer = toy::trainer_of<adamw, nesterov, f32, alone>;
    return toy::sentence(toy::outcome_of(trainer::make({.exchange = {}, .transport = alone{}}, parameters)));
  };
  CHECK(said({{"wte", {10}, memory.data()}, {"head", {10}, memory.data()}}).find("overlaps") !=
        std::string::npos);
  CHECK(said({{"a", {6}, memory.data()}, {"b", {5}, memory.data() + 5}}) ==
        "diloco: parameters: 'b' overlaps 'a'; give memory that is shared once");
  CHECK(said({{"a", {5}, memory.data()}, {"b", {5}, memory.data() + 5}}) == "no error");
  CHECK(said({{"huge", {std::size_t{1} << 33, std::size_t{1} << 31}, memory.data()}}) ==
        "diloco: parameters: 'huge' has a shape that no memory can hold");
}

}  // namespace
