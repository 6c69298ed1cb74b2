// SPDX-License-Identifier: Apache-2.0
// Rounds of pairs. NoLoCo over threads is compared with its formula in double, with the same partners. Also a
// round that is dropped for one pair, and noloco when all ranks exchange.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

using namespace diloco;

namespace {

template <class Outer, class Compressor, class Exchange, class Transport = threads,
          class Feedback = error_feedback>
using trainer_of = DiLoCo<external, Outer, Compressor, Transport, Feedback, weighted_mean, Exchange, every,
                          support::main_executor, counters>;

constexpr std::size_t n = 700;  // blocks and a tail
constexpr int never = 1 << 20;

/// The distance that worker `rank` moves its θ before round `round`. Δ is this number.
float delta(int rank, long round, std::size_t i) {
  return 0.05f * toy::number(static_cast<std::uint64_t>(100 + 40 * round + rank), i);
}
double tokens(int rank, long round, bool equal) {
  return equal ? 1.0 : 1.0 + static_cast<double>((rank + round) % 3);
}

using row = std::vector<double>;
using history = std::vector<row>;  // (rounds) anchors of one rank

/// The worker in double, from the formula alone. A worker receives data only from its partner of the round.
struct worker {
  row anchor, theta, momentum;
  double weight = 0;
};
std::vector<history> by_formula(int ranks, int rounds, gossip who, noloco const& o, bool equal,
                                int spoiled_round = never, int spoiled_rank = 0) {
  toy::model const start({n});
  std::vector<worker> all(static_cast<std::size_t>(ranks));
  float const* const from = start.parameters()[0].data;
  for (worker& w : all) w = {row(from, from + n), row(from, from + n), row(n), 0};
  std::vector<history> seen(all.size());
  for (int round = 0; round < rounds; ++round) {
    std::vector<worker> const before = [&] {
      for (std::size_t k = 0; k < all.size(); ++k) {
        for (std::size_t i = 0; i < n; ++i)
          all[k].theta[i] -= static_cast<double>(delta(static_cast<int>(k), round, i));
        all[k].weight += tokens(static_cast<int>(k), round, equal);
      }
      return all;
    }();
    for (std::size_t k = 0; k < all.size(); ++k) {
      int const rank = static_cast<int>(k),
                partner = who.partner(static_cast<std::uint64_t>(round), rank, ranks);
      bool const spoiled = round == spoiled_round && (rank == spoiled_rank || partner == spoiled_rank);
      worker const &mine = before[k], &other = before[static_cast<std::size_t>(partner)];
      double const c = mine.weight / (mine.weight + (partner == rank ? 0 : other.weight)), d = 1 - c;
      for (std::size_t i = 0; i < n && !spoiled; ++i) {
        double const g = c * (mine.anchor[i] - mine.theta[i]) + d * (other.anchor[i] - other.theta[i]);
        double const mean = c * mine.anchor[i] + d * other.anchor[i];
        all[k].momentum[i] = static_cast<double>(o.momentum) * mine.momentum[i] -
                             static_cast<double>(o.lr) * g +
                             static_cast<double>(o.consensus) * (mean - mine.anchor[i]);
        all[k].anchor[i] += all[k].momentum[i];
        all[k].theta[i] = all[k].anchor[i];
      }
      if (!spoiled) all[k].weight = 0;
      seen[k].push_back(all[k].anchor);
    }
  }
  return seen;
}

/// The same by trainers.
struct trace {
  history anchors;
  std::vector<std::string> said;
  std::uint64_t rounds = 0, aborted = 0;
  bool theta_is_anchor = true, spoiled_changed_nothing = true;
};
template <class Compressor>
std::vector<trace> by_trainers(int ranks, int rounds, gossip who, noloco const& o, bool equal,
                               int spoiled_round = never, int spoiled_rank = 0) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({n});
    trainer_of<noloco, Compressor, gossip> t(
        {.outer = o, .exchange = who, .transport = std::move(transport), .schedule = every(1000)},
        m.parameters());
    trace seen;
    for (int round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < n; ++i) m[0][i] -= delta(rank, round, i);
      t.after_step(tokens(rank, round, equal));
      float const kept = m[0][13];
      bool const spoils = round == spoiled_round && rank == spoiled_rank;
      if (spoils) m[0][13] = std::numeric_limits<float>::quiet_NaN();
      auto const before = toy::state_of(t, m);
      auto const done = t.try_sync();
      seen.said.push_back(toy::sentence(toy::outcome_of(done)));
      if (!done) seen.spoiled_changed_nothing &= toy::state_of(t, m) == before;
      if (spoils) m[0][13] = kept;
      auto const anchor = t.cell("t0", "anchor");
      seen.theta_is_anchor &= !done || std::equal(anchor.begin(), anchor.end(), m[0].begin());
      seen.anchors.emplace_back(anchor.begin(), anchor.end());
    }
    seen.rounds = t.rounds();
    seen.aborted = t.probe().aborted_rounds;
    return seen;
  });
}

double distance(row const& a, row const& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}
double distance(std::vector<trace> const& got, std::vector<history> const& expected) {
  double largest = 0;
  for (std::size_t k = 0; k < got.size(); ++k) {
    REQUIRE(got[k].anchors.size() == expected[k].size());
    for (std::size_t r = 0; r < expected[k].size(); ++r)
      largest = std::max(largest, distance(got[k].anchors[r], expected[k][r]));
  }
  return largest;
}

}  // namespace

TEST_CASE("gossip with noloco: the whole trajectory of every rank is the formula's") {
  constexpr int rounds = 24;
  // θ| < 3, so each of a few operations per round rounds an anchor by 1.2e-7. 5e-6 is 40 such roundings.
  for (int const ranks : {1, 2, 4, 5}) {
    for (bool const equal : {true, false}) {
      CAPTURE(ranks);
      CAPTURE(equal);
      auto const got = by_trainers<f32>(ranks, rounds, {11}, {}, equal);
      CHECK(distance(got, by_formula(ranks, rounds, {11}, {}, equal)) < 5e-6);
      for (trace const& t : got) {
        CHECK(t.theta_is_anchor);
        CHECK(t.rounds == rounds);
      }
      // Other partners, weights or consensus give other results.
      if (ranks > 2) {
        CHECK(distance(got, by_formula(ranks, rounds, {12}, {}, equal)) > 1e-3);
        CHECK(distance(got, by_formula(ranks, rounds, {11}, {}, !equal)) > 1e-3);
        CHECK(distance(got, by_formula(ranks, rounds, {11}, {.consensus = 0.65f}, equal)) > 1e-3);
        CHECK(distance(got[0].anchors.back(), got[1].anchors.back()) > 1e-3);  // replicas differ by design
      }
    }
  }
}

TEST_CASE(
    "gossip with noloco: fewer bits on the wire stay near the formula, by feedback of each rank's own") {
  auto const expected = by_formula(4, 24, {11}, {}, true);
  double const eight = distance(by_trainers<absmax<8>>(4, 24, {11}, {}, true), expected);
  double const four = distance(by_trainers<absmax<4>>(4, 24, {11}, {}, true), expected);
  CHECK(eight > 1e-5);
  CHECK(eight < 2e-3);
  CHECK(four < 3e-2);
}

TEST_CASE(
    "gossip: what one rank cannot send is dropped by its pair alone, and the round number goes on "
    "everywhere") {
  constexpr int rounds = 20, spoiled_round = 7, spoiled_rank = 2, ranks = 4;
  int const other = gossip{11}.partner(spoiled_round, spoiled_rank, ranks);
  for (bool const equal : {true, false}) {
    auto const got = by_trainers<f32>(ranks, rounds, {11}, {}, equal, spoiled_round, spoiled_rank);
    CHECK(distance(got, by_formula(ranks, rounds, {11}, {}, equal, spoiled_round, spoiled_rank)) < 5e-6);
    CHECK(distance(got, by_formula(ranks, rounds, {11}, {}, equal)) > 1e-3);
    for (int rank = 0; rank < ranks; ++rank) {
      trace const& t = got[static_cast<std::size_t>(rank)];
      bool const in_pair = rank == spoiled_rank || rank == other;
      for (int round = 0; round < rounds; ++round) {
        CHECK(t.said[static_cast<std::size_t>(round)] ==
              (in_pair && round == spoiled_round ? "diloco: round 7: rank 2: the pseudo-gradient or the "
                                                   "anchor of 't0' is not finite or beyond "
                                                   "2.0254883e+37, the largest magnitude of noloco; the "
                                                   "round is dropped on both ranks of the pair and "
                                                   "nothing was changed"
                                                 : "no error"));
      }
      CHECK(t.rounds == rounds);
      CHECK(t.aborted == (in_pair ? 1 : 0));
      CHECK(t.spoiled_changed_nothing);
    }
  }
  // A residual stays as it was, too.
  for (trace const& t : by_trainers<absmax<4>>(ranks, rounds, {11}, {}, true, spoiled_round, spoiled_rank))
    CHECK(t.spoiled_changed_nothing);
}

TEST_CASE("gossip: a pair without a token in all says so, and goes on") {
  auto const seen = toy::on_each_rank(2, [](threads transport) {
    toy::model m({n});
    trainer_of<noloco, f32, gossip> t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(1000)}, m.parameters());
    t.skip_step();
    auto const said = toy::sentence(toy::outcome_of(t.try_sync()));
    auto const rounds = t.rounds();
    t.skip_step(1.0);
    t.sync();
    return std::tuple{said, rounds, t.rounds()};
  });
  for (auto const& [said, rounds, after] : seen) {
    CHECK(said ==
          "diloco: round 0: the workers' weights (tokens) add up to 0; there is nothing to take the mean of "
          "(count steps "
          "with step or after_step)");
    CHECK(rounds == 1);
    CHECK(after == 2);
  }
}

namespace {

/// Largest distance between the anchors of any two ranks after each round. The problem is ½(θ − target_k)²
/// with noise, with five SGD steps of 0.2 per round.
std::vector<double> spreads(int ranks, int rounds, noloco const& o) {
  auto const anchors = toy::on_each_rank(ranks, [&](threads transport) {
    auto const rank = static_cast<std::uint64_t>(transport.rank());
    toy::model m({n});
    trainer_of<noloco, f32, gossip> t(
        {.outer = o, .exchange = {}, .transport = std::move(transport), .schedule = every(5)},
        m.parameters());
    history seen;
    for (long step = 0; step < 5 * rounds; ++step) {
      for (std::size_t i = 0; i < n; ++i) {
        float const target = toy::number(70, i) + 0.5f * toy::number(80 + rank, i);
        float const noise = toy::number(1000 + static_cast<std::uint64_t>(step) * 8 + rank, i);
        m[0][i] -= 0.2f * (m[0][i] - target + noise);
      }
      t.skip_step(1.0);
      if (t.rounds() == seen.size()) continue;
      auto const anchor = t.cell("t0", "anchor");
      seen.emplace_back(anchor.begin(), anchor.end());
    }
    return seen;
  });
  std::vector<double> all;
  for (std::size_t r = 0; r < static_cast<std::size_t>(rounds); ++r) {
    double largest = 0;
    for (history const& a : anchors) {
      for (history const& b : anchors) largest = std::max(largest, distance(a[r], b[r]));
    }
    all.push_back(largest);
  }
  return all;
}
double mean_of(std::vector<double> const& x, std::size_t from, std::size_t to) {
  double sum = 0;
  for (std::size_t i = from; i < to; ++i) sum += x[i];
  return sum / static_cast<double>(to - from);
}

}  // namespace

TEST_CASE("gossip with noloco: the consensus term holds the replicas together") {
  for (int const ranks : {4, 5}) {
    auto const held = spreads(ranks, 120, {}), loose = spreads(ranks, 120, {.consensus = 0});
    CHECK(mean_of(held, 60, 120) < 0.8 * mean_of(loose, 60, 120));
    // The distance stays bounded. It does not grow once the run has settled, and its scale is the difference
    // of the targets.
    CHECK(mean_of(held, 90, 120) < 1.1 * mean_of(held, 30, 60));
    CHECK(*std::max_element(held.begin(), held.end()) < 3);
  }
}

namespace {

/// In round t, the partner is the rank that differs in bit t. A mean over all 2ᵏ ranks takes k rounds.
struct hypercube {
  static constexpr std::string_view name = "hypercube";
  static constexpr same_compressor second{};
  [[nodiscard]] static leg_list legs(int ranks) { return gossip{}.legs(ranks); }
  [[nodiscard]] static int partner(std::uint64_t round, int rank, int ranks) {
    int bits = 0;
    while (1 << (bits + 1) <= ranks) ++bits;
    return bits == 0 ? rank : rank ^ (1 << (round % static_cast<std::uint64_t>(bits)));
  }
};
/// Names a partner that does not exist.
struct nowhere : hypercube {
  [[nodiscard]] static int partner(std::uint64_t, int, int ranks) { return ranks; }
};

}  // namespace

TEST_CASE("pairs by another rule: plain averaging along the axes of a cube is exact after log2 K rounds") {
  for (int const ranks : {2, 4, 8}) {
    auto const anchors = toy::on_each_rank(ranks, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({n});
      trainer_of<noloco, f32, hypercube> t({.outer = {.lr = 1, .momentum = 0, .consensus = 1},
                                            .exchange = {},
                                            .transport = std::move(transport),
                                            .schedule = every(1)},
                                           m.parameters());
      CHECK(t.describe().find("gossip over threads") != std::string::npos);
      for (std::size_t i = 0; i < n; ++i) m[0][i] -= delta(rank, 0, i);
      for (int k = 1; k < ranks; k *= 2) t.skip_step(1.0);
      auto const anchor = t.cell("t0", "anchor");
      return row(anchor.begin(), anchor.end());
    });
    toy::model start({n});
    row mean(start[0].begin(), start[0].end());
    for (std::size_t i = 0; i < n; ++i) {
      for (int k = 0; k < ranks; ++k) mean[i] -= static_cast<double>(delta(k, 0, i)) / ranks;
    }
    for (row const& a : anchors) CHECK(distance(a, mean) < 5e-7);
  }
}

TEST_CASE("gossip: bytes that are counted are the bytes that are told") {
  constexpr int rounds = 15;
  // Rows of 300 and 700 elements in blocks of 256. Anchors are sent as one column of 304 and 700 elements, in
  // whole cache lines.
  for (int const ranks : {1, 2, 4, 5}) {
    CAPTURE(ranks);
    auto const check = [&]<class C, class Outer>(C, Outer, std::size_t anchors) {
      std::size_t const slot = 128 + tile_wire_bytes<C>(300) + tile_wire_bytes<C>(700) + anchors;
      toy::on_each_rank(ranks, [&](threads transport) {
        int const rank = transport.rank();
        toy::model m({300, 700});
        counted watched(std::move(transport));
        auto const counts = watched.counts();
        trainer_of<Outer, C, gossip, counted<threads>> t(
            {.exchange = {5}, .transport = std::move(watched), .schedule = every(1)}, m.parameters());
        std::uint64_t const before = counts->sent_bytes, operations = counts->operations;
        std::size_t sent = 0, votes = 0;
        for (int round = 0; round < rounds; ++round) {
          t.skip_step(1.0);
          if (gossip{5}.partner(static_cast<std::uint64_t>(round), rank, ranks) != rank) {
            sent += slot + vote_bytes;
            votes += 1;
          }
        }
        CHECK(t.wire_bytes_per_round() == (ranks == 1 ? 0 : slot + vote_bytes));
        CHECK(counts->sent_bytes - before == sent);
        CHECK(t.probe().sent_bytes == sent);
        CHECK(counts->operations - operations == rounds + votes);
        if (ranks % 2 == 0) CHECK(sent == rounds * t.wire_bytes_per_round());
        return 0;
      });
    };
    check(f32{}, noloco{}, 4 * 1008);
    check(absmax<4>{}, noloco{}, 4 * 1008);
    check(absmax<8>{}, nesterov{}, 0);
  }
}

TEST_CASE("gossip: describe() tells what is exchanged, and what it costs") {
  toy::on_each_rank(4, [](threads transport) {
    toy::model m({4096, 8192});  // whole blocks
    trainer_of<noloco, f32, gossip> t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(50)}, m.parameters());
    // State: θ̄, m and the mean anchor. Sweep A 12, sweep B 12 + 8 + 4 + 2·4, sending the anchor 4·(3 + 2).
    CHECK(t.describe() ==
          "external → noloco · f32 (32 bit) + anchor (32 bit) · gossip over threads×4 · every 50 · sends 98.7 "
          "kB at once, 1.97 kB per step · state 12 B/param · round 88 B/param");
    CHECK(t.legs() == gossip{}.legs(3));
    CHECK(t.cell("t1", "mean_anchor").size() == 8192);
    return 0;
  });
}

TEST_CASE("noloco where all ranks meet: all anchors are equal, and it is heavy_ball up to rounding") {
  for (pattern const exchange : toy::patterns) {
    for (int const ranks : {1, 2, 3, 4}) {
      CAPTURE(ranks);
      auto const run = [&]<class C, class Outer>(C, Outer o) {
        return toy::on_each_rank(ranks, [&](threads transport) {
          int const rank = transport.rank();
          toy::model m({n, 5000});
          trainer_of<Outer, C, toy::chosen> t(
              {.outer = o, .exchange = {exchange}, .transport = std::move(transport), .schedule = every(1)},
              m.parameters());
          for (int round = 0; round < 12; ++round) {
            for (std::size_t i = 0; i < 5000; ++i) m[1][i] -= delta(rank, round, i);
            t.after_step(1.0 + rank);
          }
          auto const anchor = t.cell("t1", "anchor"), mean = toy::cell_or_none(t, "t1", "mean_anchor");
          return std::tuple{row(anchor.begin(), anchor.end()), t.digest(), row(mean.begin(), mean.end())};
        });
      };
      noloco const o{.lr = 0.6f, .momentum = 0.8f, .consensus = 0.5f};
      heavy_ball const h{.lr = 0.6f, .momentum = 0.8f};
      auto const exact = run(f32{}, o), heavy = run(f32{}, h);
      CHECK(distance(std::get<0>(exact[0]), std::get<0>(heavy[0])) < 5e-6);
      // The mean anchor is that of the anchors before the last step, and it belongs to this tensor.
      CHECK(distance(std::get<2>(exact[0]), std::get<0>(exact[0])) > 1e-3);
      CHECK(distance(std::get<2>(exact[0]), std::get<0>(exact[0])) < 0.5);
      CHECK(distance(std::get<0>(run(absmax<8>{}, o)[0]), std::get<0>(run(absmax<8>{}, h)[0])) < 2e-3);
      for (auto const& each : exact) CHECK(std::get<1>(each) == std::get<1>(exact[0]));
      for (auto const& each : run(absmax<4>{}, o)) CHECK(std::get<1>(each) != 0);
    }
  }
}

TEST_CASE("gossip: beside the anchor, averaged inner state and element weights, each in its plane") {
  // α = 0, β = γ = 1: both ranks of a pair land on the mean of their θ, whatever their anchors were.
  auto const seen = toy::on_each_rank(4, [](threads transport) {
    int const rank = transport.rank();
    toy::model m({n});
    DiLoCo t(recipe<>{}
                 .with_inner(ivon{.lr = 0.05f, .ess = 20, .beta2 = 0.5f})
                 .with_outer(noloco{.lr = 1, .momentum = 0, .consensus = 1})
                 .with_combine(precision_weighted{})
                 .with_exchange(gossip{11})
                 .with_transport(std::move(transport))
                 .with_inner_at_sync(at_sync::average)
                 .with_schedule(manual{}),
             m.parameters());
    auto const row_of = [&](char const* column) {
      auto const cell = t.cell("t0", column);
      return row(cell.begin(), cell.end());
    };
    std::vector<row> all;
    for (int round = 0; round < 3; ++round) {
      for (int step = 0; step < 3; ++step) t.step(m.gradients(rank, 3 * round + step));
      all = {row_of("anchor"), row_of("theta"), row_of("inner.h_minus_h0")};
      t.sync();
    }
    all.push_back(row_of("anchor"));
    all.push_back(row_of("inner.h_minus_h0"));
    all.push_back(row_of("inner.m"));
    return all;
  });
  for (std::size_t k = 0; k < 4; ++k) {
    auto const& mine = seen[k];
    auto const& other = seen[static_cast<std::size_t>(gossip{11}.partner(2, static_cast<int>(k), 4))];
    CHECK(mine[5] == other[5]);  // m and h: the mean of the pair's
    CHECK(mine[4] == other[4]);
    row expected(n), h(n);
    for (std::size_t i = 0; i < n; ++i) {
      double const p = mine[2][i] + 1.0001, q = other[2][i] + 1.0001;
      double const mean_delta = (p * (mine[0][i] - mine[1][i]) + q * (other[0][i] - other[1][i])) / (p + q);
      expected[i] = (mine[0][i] + other[0][i]) / 2 - mean_delta;
      h[i] = (mine[2][i] + other[2][i]) / 2;
    }
    CHECK(distance(mine[3], expected) < 2e-6);
    CHECK(distance(mine[4], h) < 1e-6);
  }
}

TEST_CASE("gossip: what does not fit is told") {
  toy::model ours({n});
  auto const made = [&](auto exchange, pattern p) {
    using X = decltype(exchange);
    if constexpr (std::is_same_v<X, toy::chosen>) exchange.which = p;
    return trainer_of<nesterov, f32, X, alone>::make(
        {.exchange = exchange, .transport = alone{}, .schedule = every(1)}, ours.parameters());
  };
  auto const no_partner = made(toy::chosen{}, pattern::pairs);
  REQUIRE(!no_partner);
  CHECK(no_partner.error().message ==
        "diloco: exchange chosen: pairs ranks if and only if it has int partner(round, rank, ranks) const");
  CHECK(no_partner.error().what == cause::bad_setting);
  auto lost = made(nowhere{}, pattern::pairs);
  REQUIRE(lost);
  CHECK(toy::sentence(toy::outcome_of(lost->try_after_step())) ==
        "diloco: launch: in round 0 the exchange hypercube pairs this rank with rank 1, which is not there");
  // Replicas differ later but not at the start. All must draw the same numbers.
  auto const refused = [](auto change) {
    return toy::on_each_rank(3, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m({n});
      gossip who;
      if (rank == 1) change(m, who);
      return toy::sentence(toy::outcome_of(trainer_of<noloco, f32, gossip>::make(
          {.exchange = who, .transport = std::move(transport), .schedule = every(1)}, m.parameters())));
    });
  };
  for (auto const &said : refused([](toy::model&m, gossip&) { m[0][5] += 1; }))
    CHECK(said.find("diloco: contract: rank 1 and rank 0 disagree on the initial values of 't0'") == 0);
  for (auto const& said : refused([](toy::model&, gossip& g) { g.seed = 1; }))
    CHECK(said ==
          "diloco: contract: rank 1 and rank 0 disagree on the exchange's seed; rank 1 has 1 and rank 0 has "
          "0; give all "
          "ranks the same");
}

TEST_CASE("gossip: a worker that leaves is named to whom it should have met, and to nobody else") {
  constexpr int ranks = 4;
  auto const seen = toy::on_each_rank(ranks, [](threads transport) {
    int const rank = transport.rank();
    toy::model m({n});
    trainer_of<noloco, f32, gossip> t(
        {.exchange = {11}, .transport = std::move(transport), .schedule = every(1)}, m.parameters());
    t.skip_step(1.0);
    if (rank == 3) return std::tuple{std::string{}, std::string{}, t.rounds()};
    auto const second = toy::sentence(toy::outcome_of(t.try_skip_step(1.0)));
    return std::tuple{second, toy::sentence(toy::outcome_of(t.try_launch())), t.rounds()};
  });
  int const left_alone = gossip{11}.partner(1, 3, ranks);
  for (int rank = 0; rank < 3; ++rank) {
    auto const& [said, after, rounds] = seen[static_cast<std::size_t>(rank)];
    if (rank == left_alone) {
      CHECK(said == "diloco: threads: round 1: rank 3 left before its part of the exchange");
      CHECK(after == "diloco: this trainer cannot go on since: " + said);
      CHECK(rounds == 1);
    } else {
      CHECK(said == "no error");
      CHECK(after == "no error");
      CHECK(rounds == 2);
    }
  }
}
