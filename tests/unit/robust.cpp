// SPDX-License-Identifier: Apache-2.0 Combine rules that see every contribution: trimmed mean, median,
// majority.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 5000};

/// g of one element's contributions.
template <class Rule>
float of(Rule rule, std::vector<float> x) {
  std::vector<float*> v;
  for (float& each : x) v.push_back(&each);
  float g = 77;
  rule.block(v.data(), static_cast<int>(v.size()), 1, &g);
  return g;
}

/// θ̄ after some rounds of `ranks` workers, of which `map` says which worker's gradients each rank takes, and
/// whether rank 0 sends huge ones.
template <class Rule, class Compressor>
std::vector<float> trained(Rule rule, Compressor c, int ranks, std::vector<int> const& map, pattern exchange,
                           bool hostile = false) {
  auto const all = toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(recipe<>{}
                 .with_inner(plain_sgd{.lr = 0.1f})
                 .with_outer(plain_sgd{.lr = 1})
                 .with_compressor(c)
                 .with_combine(rule)
                 .with_exchange(toy::chosen{exchange})
                 .with_transport(std::move(transport))
                 .with_schedule(every(2)),
             m.parameters());
    for (long step = 1; step <= 8; ++step) {
      auto& g = m.gradients(map[static_cast<std::size_t>(rank)], step);
      if (hostile && rank == 0) {
        for (auto& row : g) {
          for (float& x : row) x *= -1000;
        }
      }
      t.step(g);
    }
    std::vector<float> anchor;
    for (tensor const& p : m.parameters()) {
      auto const cell = t.cell(p.name, "anchor");
      anchor.insert(anchor.end(), cell.begin(), cell.end());
    }
    return anchor;
  });
  for (auto const& each : all) CHECK(each == all[0]);
  return all[0];
}

float farthest(std::vector<float> const& a, std::vector<float> const& b) {
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace

TEST_CASE("robust rules: of one element, by hand") {
  CHECK(of(trimmed_mean{}, {5}) == 5);
  CHECK(of(trimmed_mean{}, {1, 4}) == 2.5f);
  CHECK(of(trimmed_mean{}, {9, 1, 2}) == 2);
  CHECK(of(trimmed_mean{}, {9, 1, 2, 4}) == 3);
  CHECK(of(trimmed_mean{.drop = 2}, {9, 1, 2, 4, -50}) == 2);
  CHECK(of(trimmed_mean{.drop = 7}, {9, 1, 2, 4}) == 3);  // two of four stay
  CHECK(of(coordinate_median{}, {3}) == 3);
  CHECK(of(coordinate_median{}, {3, 1, 2}) == 2);
  CHECK(of(coordinate_median{}, {3, 1, 2, 10}) == 2.5f);
  CHECK(of(majority{}, {0.1f, -5, 0.2f}) == 1);
  CHECK(of(majority{}, {0.1f, -5, 0, 0}) == 0);
  CHECK(of(majority{}, {-1, -5, 2}) == -1);
  // Against a sort, for every number of contributions.
  for (int n = 1; n <= max_seen_contributors; ++n) {
    std::vector<float> x;
    for (int k = 0; k < n; ++k)
      x.push_back(toy::number(static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(k)));
    auto sorted = x;
    std::ranges::sort(sorted);
    auto const lower = sorted[static_cast<std::size_t>((n - 1) / 2)],
               upper = sorted[static_cast<std::size_t>(n / 2)];
    CHECK(of(coordinate_median{}, x) == (n % 2 == 1 ? lower : 0.5f * (lower + upper)));
  }
}

TEST_CASE("robust rules: the mean of large finite values is finite") {
  CHECK(of(trimmed_mean{}, {1.2e38f, 1.3e38f, 1.25e38f, 1.1e38f, 3e38f}) == doctest::Approx(1.25e38f));
  CHECK(of(coordinate_median{}, {3e38f, 3.2e38f}) == doctest::Approx(3.1e38f));
}

TEST_CASE("robust rules: one hostile worker of five is not heard, by gather and scatter-gather") {
  std::vector<int> const map{0, 1, 2, 3, 4};
  for (pattern const exchange : toy::patterns) {
    for (bool const median : {false, true}) {
      auto const run = [&](bool hostile) {
        return median ? trained(coordinate_median{}, f32{}, 5, map, exchange, hostile)
                      : trained(trimmed_mean{}, f32{}, 5, map, exchange, hostile);
      };
      auto const mean = trained(weighted_mean{}, f32{}, 5, map, exchange);
      CHECK(farthest(run(false), mean) < 0.05f);
      CHECK(farthest(run(true), mean) < 0.1f);
      CHECK(farthest(trained(weighted_mean{}, f32{}, 5, map, exchange, true), mean) > 10);
    }
  }
}

TEST_CASE("robust rules: the order of ranks does not matter, and alike workers are one") {
  for (pattern const exchange : toy::patterns) {
    CHECK(trained(trimmed_mean{}, f32{}, 4, {0, 1, 2, 3}, exchange) ==
          trained(trimmed_mean{}, f32{}, 4, {2, 0, 3, 1}, exchange));
    CHECK(trained(coordinate_median{}, absmax<4>{}, 3, {0, 0, 0}, pattern::gather) ==
          trained(coordinate_median{}, absmax<4>{}, 1, {0}, pattern::gather));
    trained(majority{}, sign<>{}, 3, {0, 1, 2}, exchange);
  }
}

TEST_CASE("robust rules: a worker without tokens does not vote") {
  auto const digests = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(recipe<>{}
                 .with_inner(plain_sgd{.lr = 0.1f})
                 .with_outer(plain_sgd{.lr = 1})
                 .with_combine(coordinate_median{})
                 .with_exchange(gather{})
                 .with_transport(std::move(transport))
                 .with_schedule(manual{}),
             m.parameters());
    if (rank == 2)
      t.skip_step();
    else
      t.step(m.gradients(rank, 1));
    t.sync();
    // The median of two is their mean.
    toy::model a(sizes), b(sizes);
    auto const &ga = a.gradients(0, 1), &gb = b.gradients(1, 1);
    auto const anchor = t.cell("t2", "anchor");
    for (std::size_t i = 0; i < anchor.size(); ++i)
      CHECK(std::abs(anchor[i] - (a[2][i] - 0.05f * (ga[2][i] + gb[2][i]))) < 1e-6f);
    return t.digest();
  });
  CHECK(digests[0] == digests[2]);
}

TEST_CASE("robust rules: numbers out of range") {
  toy::model m(sizes);
  auto r = recipe<>{}.with_combine(trimmed_mean{.drop = 0}).with_transport(alone{});
  auto const made = decltype(DiLoCo(r, m.parameters()))::make(r, m.parameters());
  REQUIRE_FALSE(made);
  CHECK(made.error().message == "diloco: combine trimmed_mean: drop = 0 must be in [1, 15]");
}
