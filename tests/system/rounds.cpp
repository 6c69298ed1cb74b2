// SPDX-License-Identifier: Apache-2.0
// K workers over threads. After every round, all have the same anchor bits, and θ is the anchor. The anchor
// moves by the token-weighted mean.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>

using namespace diloco;

namespace {

constexpr int rounds = 4, inner_steps = 2;
// One element, less than a block, a tail, more than a tile. There are fewer tiles than eight ranks.
std::vector<std::size_t> const sizes{1, 255, 4097, 513};

/// Digests of the anchor after each round, and whether θ equalled the anchor each time.
struct trace {
  std::vector<std::uint64_t> digests;
  bool theta_is_anchor = true;
};

template <class C>
std::vector<trace> run(int workers, pattern exchange) {
  return toy::on_each_rank(workers, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    toy::trainer_of<adamw, nesterov, C, threads> t(
        {.exchange = {exchange}, .transport = std::move(transport), .schedule = every(inner_steps)},
        m.parameters());
    trace seen;
    for (long step = 0; step < rounds * inner_steps; ++step) {
      t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
      if ((step + 1) % inner_steps != 0) continue;
      seen.digests.push_back(t.digest());
      for (tensor const& each : m.parameters()) {
        auto const anchor = t.cell(each.name, "anchor");
        seen.theta_is_anchor &= std::equal(anchor.begin(), anchor.end(), each.data);
      }
    }
    return seen;
  });
}

template <class C>
void check_agreement() {
  for (int const workers : {1, 2, 3, 4, 8}) {
    for (pattern const exchange : toy::patterns) {
      CAPTURE(C::name);
      CAPTURE(workers);
      CAPTURE(static_cast<int>(exchange));
      auto const seen = run<C>(workers, exchange);
      for (trace const& t : seen) {
        CHECK(t.digests == seen[0].digests);
        CHECK(t.theta_is_anchor);
      }
      CHECK(seen[0].digests.size() == rounds);
      // The rounds also moved the anchor: no two digests are equal.
      CHECK(std::set<std::uint64_t>(seen[0].digests.begin(), seen[0].digests.end()).size() == rounds);
    }
  }
}

/// Largest distance of the anchor from θ̄ − Σ wₖ Δₖ / Σ wₖ in double, for workers that move tensor t0 by
/// known Δₖ.
template <class C>
double distance_from_weighted_mean(int workers, pattern exchange, std::vector<double> const& tokens) {
  constexpr std::size_t n = 5000;
  auto const delta = [](int worker, std::size_t i) {
    return 0.01f * toy::number(static_cast<std::uint64_t>(50 + worker), i);
  };
  auto const anchors = toy::on_each_rank(workers, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({n});
    toy::trainer_of<external, plain_sgd, C, threads> t({.outer = {.lr = 1},
                                                        .exchange = {exchange},
                                                        .transport = std::move(transport),
                                                        .schedule = every(1000)},
                                                       m.parameters());
    for (std::size_t i = 0; i < n; ++i) m[0][i] -= delta(rank, i);
    t.after_step(tokens[static_cast<std::size_t>(rank)]);
    t.sync();
    auto const anchor = t.cell("t0", "anchor");
    return std::vector<float>(anchor.begin(), anchor.end());
  });
  toy::model start({n});
  double total = 0, largest = 0;
  for (double w : tokens) total += w;
  for (std::size_t i = 0; i < n; ++i) {
    double mean = 0;
    for (int k = 0; k < workers; ++k) {
      // The Δ that the worker measures, because its θ was rounded when it was moved.
      float const moved = start[0][i] - delta(k, i);
      mean += tokens[static_cast<std::size_t>(k)] / total *
              (static_cast<double>(start[0][i]) - static_cast<double>(moved));
    }
    double const expected = static_cast<double>(start[0][i]) - mean;
    largest = std::max(largest, std::abs(expected - static_cast<double>(anchors[0][i])));
  }
  return largest;
}

}  // namespace

TEST_CASE("anchors are bitwise equal after every round: f32") { check_agreement<f32>(); }
TEST_CASE("anchors are bitwise equal after every round: f16") { check_agreement<f16>(); }
TEST_CASE("anchors are bitwise equal after every round: bf16") { check_agreement<bf16>(); }
TEST_CASE("anchors are bitwise equal after every round: absmax8") { check_agreement<absmax<8>>(); }
TEST_CASE("anchors are bitwise equal after every round: absmax4") { check_agreement<absmax<4>>(); }
TEST_CASE("anchors are bitwise equal after every round: sign") { check_agreement<sign<>>(); }

TEST_CASE("the mean is weighted by tokens: an exact wire") {
  // θ| < 1: one rounding is at most 3e-8, and there are two.
  for (pattern const exchange : toy::patterns) {
    CHECK(distance_from_weighted_mean<f32>(1, exchange, {7}) < 1e-7);
    CHECK(distance_from_weighted_mean<f32>(2, exchange, {1, 1}) < 1e-7);
    CHECK(distance_from_weighted_mean<f32>(3, exchange, {1000, 1, 250.5}) < 1e-7);
    CHECK(distance_from_weighted_mean<f32>(4, exchange, {0, 3, 0, 5}) < 1e-7);  // zero tokens: no weight
    CHECK(distance_from_weighted_mean<f32>(5, exchange, {1e-9, 2e-9, 3e-9, 4e-9, 5e-9}) < 1e-7);
    CHECK(distance_from_weighted_mean<f32>(8, exchange, {1, 2, 3, 4, 5, 6, 7, 1e6}) < 1e-7);
  }
}

TEST_CASE("the mean is weighted by tokens: a lossy wire is off by its own error only") {
  // Δ| < 0.01. absmax8 has an error of at most amax / 254, and twice that under scatter–gather.
  CHECK(distance_from_weighted_mean<absmax<8>>(3, pattern::gather, {1000, 1, 250.5}) < 0.01 / 254 + 1e-7);
  CHECK(distance_from_weighted_mean<absmax<8>>(3, pattern::scatter_gather, {1000, 1, 250.5}) <
        2 * 0.01 / 254 + 1e-7);
  CHECK(distance_from_weighted_mean<absmax<8>>(3, pattern::gather, {1000, 1, 250.5}) > 1e-6);
}
