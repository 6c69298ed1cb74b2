// SPDX-License-Identifier: Apache-2.0
// The precision-weighted merge. Each element is weighted by its worker's certainty about it.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 4097, 64};

/// Input and result of one rank.
struct seen {
  std::vector<std::vector<float>> start, theta, h, anchor;
  std::uint64_t digest = 0;
  std::string contract;
  std::size_t bytes = 0;
};

template <class Compressor, class Combine, class Feedback = error_feedback>
std::vector<seen> one_round(int ranks, pattern which) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    toy::model m(sizes);
    int const rank = transport.rank();
    DiLoCo trainer(recipe<>{}
                       .with_inner(groups(group{named("t2"), adamw{}},
                                          group{the_rest, ivon{.lr = 0.05f, .ess = 20, .beta2 = 0.5f}}))
                       .with_outer(plain_sgd{.lr = 1})
                       .with_compressor(Compressor{})
                       .with_feedback(Feedback{})
                       .with_combine(Combine{})
                       .with_exchange(toy::chosen{which})
                       .with_transport(std::move(transport))
                       .with_schedule(manual{}),
                   m.parameters());
    for (int step = 0; step < 3; ++step) trainer.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
    seen s;
    auto const all = [&](char const* column) {
      std::vector<std::vector<float>> rows;
      for (std::size_t t = 0; t < sizes.size(); ++t) {
        auto const cell = toy::cell_or_none(trainer, std::string("t").append(std::to_string(t)), column);
        rows.emplace_back(cell.begin(), cell.end());
      }
      return rows;
    };
    s.start = all("anchor");
    s.theta = all("theta");
    s.h = all("inner.h_minus_h0");
    trainer.sync();
    s.anchor = all("anchor");
    s.digest = trainer.digest();
    s.contract = trainer.describe();
    s.bytes = trainer.wire_bytes_per_round();
    return s;
  });
}

/// Largest distance of the new anchors from the formula in double, as a share of the largest displacement.
double distance(std::vector<seen> const& all, bool weighted) {
  double worst = 0, largest = 0;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    for (std::size_t i = 0; i < sizes[t]; ++i) {
      double sum = 0, weights = 0;
      for (std::size_t k = 0; k < all.size(); ++k) {
        double const q = weighted && !all[k].h[t].empty() ? double(all[k].h[t][i]) + 1.0001 : 1.0;
        double const w = (1.0 + double(k)) * q;
        sum += w * (double(all[k].start[t][i]) - double(all[k].theta[t][i]));
        weights += w;
      }
      double const got = double(all[0].start[t][i]) - double(all[0].anchor[t][i]);
      worst = std::max(worst, std::abs(got - sum / weights));
      largest = std::max(largest, std::abs(sum / weights));
    }
  }
  return worst / largest;
}

}  // namespace

TEST_CASE(
    "precision_weighted: an exact wire gives the formula, for tensors that have an h; the others are "
    "averaged") {
  for (pattern which : toy::patterns) {
    for (int ranks : {1, 3}) {
      auto const all = one_round<f32, precision_weighted>(ranks, which);
      CHECK(distance(all, true) < 5e-6);
      if (ranks > 1) CHECK(distance(all, false) > 1e-2);
      CHECK(all[0].h[2].empty());
      for (auto const& s : all) CHECK(s.digest == all[0].digest);
      CHECK(distance(one_round<f32, weighted_mean>(ranks, which), false) < 5e-6);
    }
  }
}

TEST_CASE(
    "precision_weighted: with few bits, of blocks and of chunks, anchors stay equal and near the formula") {
  for (pattern which : toy::patterns) {
    auto const blocks = one_round<absmax<8>, precision_weighted>(2, which);
    CHECK(distance(blocks, true) < 0.03);
    CHECK(blocks[0].digest == blocks[1].digest);
    // random_k<4096> keeps all elements, so the staged path is exact.
    auto const chunks = one_round<random_k<4096>, precision_weighted>(2, which);
    CHECK(distance(chunks, true) < 5e-6);
    CHECK(chunks[0].digest == chunks[1].digest);
  }
}

TEST_CASE("precision_weighted: without a residual, of whatever kind it would be") {
  for (pattern which : toy::patterns) {
    CHECK(distance(one_round<f32, precision_weighted, averaged_error>(2, which), true) < 5e-6);
    CHECK(distance(one_round<absmax<8>, precision_weighted, averaged_error>(2, which), true) < 0.03);
    CHECK(distance(one_round<absmax<8>, precision_weighted, no_feedback>(2, which), true) < 0.03);
  }
}

TEST_CASE("precision_weighted: costs one plane of float32 on the wire, and says so") {
  auto const with = one_round<f32, precision_weighted>(2, pattern::gather);
  auto const without = one_round<f32, weighted_mean>(2, pattern::gather);
  CHECK(with[0].bytes == without[0].bytes + 4 * 4480);
  CHECK(with[0].contract.find(" + weights (32 bit)") != std::string::npos);
  CHECK(without[0].contract.find("weights") == std::string::npos);
  CHECK(field_error("combine", precision_weighted{.prior = 0}) ==
        "diloco: combine precision_weighted: prior = 0 must be a number above 0");
}

TEST_CASE("precision_weighted: a prior that is not the optimizer's is refused") {
  toy::model m(sizes);
  auto const made = [&](ivon inner, precision_weighted combine) {
    auto r =
        recipe<>{}.with_inner(inner).with_combine(combine).with_transport(alone{}).with_schedule(manual{});
    using type = decltype(DiLoCo(std::move(r), m.parameters()));
    return toy::sentence(toy::outcome_of(type::make(std::move(r), m.parameters())));
  };
  CHECK(made({}, {}) == "no error");
  CHECK(made({.weight_decay = 0.25f, .h0 = 10}, {.prior = 10.25f}) == "no error");
  CHECK(made({.weight_decay = 0.25f, .h0 = 10}, {}) ==
        "diloco: combine: precision_weighted: prior = 1.0001 must be the 10.25 that ivon adds to h_minus_h0");
}
