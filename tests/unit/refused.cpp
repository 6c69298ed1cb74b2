// SPDX-License-Identifier: Apache-2.0
// A rank that cannot read what it was sent takes nobody into the round with it: under scatter–gather its
// verdict travels with its share.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <limits>

using namespace diloco;

namespace {

/// Threads whose rank 0 receives rank 1's wire with one bit flipped, in one exchange of phase 0.
class flipping {
 public:
  static constexpr std::string_view name = "flipping";
  static constexpr bool receives_in_place = true;

  explicit flipping(threads inner) : inner_(std::move(inner)) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }

  class arrival {
   public:
    arrival(threads::arrival inner, bool spoils) : inner_(std::move(inner)) {
      if (!spoils) return;
      auto const wire = inner_.wire(1);
      copy_.assign(wire.begin(), wire.end());
      copy_[0] ^= std::byte{1};
    }
    [[nodiscard]] std::span<int const> roster() const { return inner_.roster(); }
    [[nodiscard]] std::span<std::byte const> wire(int k) const {
      return k == 1 && !copy_.empty() ? std::span<std::byte const>(copy_) : inner_.wire(k);
    }
    void done() { inner_.done(); }
    result<wires> reclaim(deadline d) && { return std::move(inner_).reclaim(d); }

   private:
    threads::arrival inner_;
    std::vector<std::byte> copy_;
  };
  class pending {
   public:
    pending(threads::pending inner, bool spoils) : inner_(std::move(inner)), spoils_(spoils) {}
    result<arrival> wait(deadline d) {
      auto here = inner_.wait(d);
      if (!here) return std::move(here).error();
      return arrival(std::move(*here), spoils_);
    }

   private:
    threads::pending inner_;
    bool spoils_;
  };
  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) {
    return {inner_.all_gather(std::move(w), tag), spoils(tag)};
  }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) {
    return {inner_.all_to_all(std::move(w), tag), spoils(tag)};
  }

 private:
  [[nodiscard]] bool spoils(exchange_tag tag) const { return rank() == 0 && tag == exchange_tag{1, 0}; }
  threads inner_;
};

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

TEST_CASE("scatter-gather: what one rank refuses, no rank commits") {
  auto const seen = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({9000, 5000});
    toy::trainer_of<adamw, nesterov, absmax<8>, flipping> t({.exchange = {pattern::scatter_gather},
                                                             .transport = flipping(std::move(transport)),
                                                             .schedule = every(1)},
                                                            m.parameters());
    t.step(m.gradients(rank, 0));
    auto const before = t.digest();
    std::string const said = toy::sentence(toy::outcome_of(t.try_step(m.gradients(rank, 1))));
    return std::tuple{said, t.digest() == before, t.rounds()};
  });
  CHECK(std::get<0>(seen[0]) == "diloco: round 1: rank 1 sent no diloco message header");
  CHECK(std::get<0>(seen[1]) == "diloco: round 1: rank 0 refused the round");
  CHECK(std::get<0>(seen[2]) == "diloco: round 1: rank 0 refused the round");
  for (auto const& [said, unchanged, rounds] : seen) {
    CHECK(unchanged);
    CHECK(rounds == 1);
  }
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
