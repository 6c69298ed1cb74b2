// SPDX-License-Identifier: Apache-2.0 scatter_gather_by: owners of shards encode what they combined with a
// compressor of their own.
#include "support/folder.hpp"
#include "support/toy.hpp"

#include <diloco/snapshot.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 256, 5000};

template <class Exchange, class C, class F = error_feedback, class Outer = nesterov, class Inner = adamw>
using trainer = DiLoCo<Inner, Outer, C, threads, F, weighted_mean, Exchange>;

/// State of every rank after ten steps with three rounds.
template <class Exchange, class C, class F = error_feedback>
std::vector<toy::bits> trained(int ranks, at_sync inner = at_sync::keep) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer<Exchange, C, F> t(
        {.transport = std::move(transport), .schedule = every(3), .inner_at_sync = inner}, m.parameters());
    for (long step = 1; step <= 10; ++step) t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
    auto state = toy::state_of(t, m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest()), static_cast<std::uint32_t>(t.rounds())};
    return state;
  });
}

template <class C, class F>
void check_same_compressor() {
  CAPTURE(C::name);
  CHECK(trained<scatter_gather_by<C>, C, F>(3) == trained<scatter_gather, C, F>(3));
}

template <class C, class Back, class F>
void check_replicas() {
  CAPTURE(C::name);
  CAPTURE(Back::name);
  CAPTURE(F::name);
  for (int ranks : {1, 2, 4}) {
    auto const all = trained<scatter_gather_by<Back>, C, F>(ranks);
    for (toy::bits const& each : all) {
      CHECK(each.at("digest") == all[0].at("digest"));
      CHECK(each.at("t4 anchor") == all[0].at("t4 anchor"));
      CHECK(each.at("t4 outer.momentum") == all[0].at("t4 outer.momentum"));
    }
  }
}

}  // namespace

TEST_CASE("legs: the same compressor twice is scatter-gather, bit for bit") {
  check_same_compressor<absmax<4>, error_feedback>();
  check_same_compressor<sign<>, error_feedback>();
  check_same_compressor<absmax<8>, averaged_error>();
}

TEST_CASE("legs: f32 on the way back is gather, bit for bit") {
  for (int ranks : {1, 2, 3})
    CHECK(trained<scatter_gather_by<f32>, absmax<4>>(ranks) == trained<gather, absmax<4>>(ranks));
}

TEST_CASE("legs: anchors are equal on all ranks") {
  check_replicas<absmax<8>, absmax<4>, error_feedback>();
  check_replicas<sign<>, absmax<8>, averaged_error>();
  check_replicas<f32, absmax<4>, ef21>();
}

TEST_CASE("legs: what neither leg could say is said later") {
  constexpr int ranks = 3;
  toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes), start(sizes);
    trainer<scatter_gather_by<absmax<2>>, absmax<4>, error_feedback, plain_sgd, plain_sgd> t(
        {.inner = {.lr = 1}, .outer = {.lr = 1}, .transport = std::move(transport), .schedule = every(1)},
        m.parameters());
    t.step(m.gradients(rank, 1));
    std::vector<std::vector<float>> const nothing = [&] {
      auto zeros = m.gradients(rank, 1);
      for (auto& v : zeros) std::fill(v.begin(), v.end(), 0.0f);
      return zeros;
    }();
    for (int round = 0; round < 60; ++round) t.step(nothing);
    std::vector<std::vector<float>> sum = nothing;
    for (int r = 0; r < ranks; ++r) {
      auto const& g = m.gradients(r, 1);
      for (std::size_t i = 0; i < sizes.size(); ++i)
        for (std::size_t e = 0; e < sizes[i]; ++e) sum[i][e] += g[i][e] / ranks;
    }
    float most = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i)
      for (std::size_t e = 0; e < sizes[i]; ++e)
        most = std::max(most, std::fabs(start[i][e] - sum[i][e] - m[i][e]));
    CHECK(most < 1e-5f);
    return 0;
  });
}

TEST_CASE("legs: auxiliary planes come back behind a payload of another size") {
  auto const apart = trained<scatter_gather_by<absmax<2>>, absmax<8>>(3, at_sync::average);
  auto const same = trained<scatter_gather, absmax<8>>(3, at_sync::average);
  for (char const* cell : {"t0 inner.m", "t2 inner.v", "t4 inner.m"})
    for (std::size_t r = 0; r < 3; ++r) CHECK(apart[r].at(cell) == same[r].at(cell));
  CHECK(apart[0].at("t4 anchor") != same[0].at("t4 anchor"));
}

TEST_CASE("legs: each leg sends the bytes of its own compressor") {
  constexpr int ranks = 4;
  toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({4096, 4096, 4096, 4096});
    counted<threads> counts(std::move(transport));
    auto const traffic = counts.counts();
    DiLoCo<adamw, nesterov, absmax<8>, counted<threads>, error_feedback, weighted_mean,
           scatter_gather_by<absmax<4>>>
        t({.transport = std::move(counts), .schedule = every(1)}, m.parameters());
    t.step(m.gradients(rank, 1));
    auto const before = traffic->sent_bytes.load();
    t.step(m.gradients(rank, 2));
    CHECK(traffic->sent_bytes - before == t.wire_bytes_per_round());
    // A shard is one tensor of 16 blocks, with 4 bytes of scale each.
    std::size_t const first = sizeof(message_header) + 4096 + 64, back = sizeof(message_header) + 2048 + 64;
    CHECK(t.wire_bytes_per_round() == (ranks - 1) * (first + back + vote_bytes));
    CHECK(t.describe().find("absmax8/256 (8.12 bit), back by absmax4/256 (4.12 bit)") != std::string::npos);
    return 0;
  });
}

TEST_CASE("legs: a run with two compressors goes on from a snapshot, bit for bit") {
  constexpr int ranks = 2;
  support::folder const folder;
  using run = trainer<scatter_gather_by<absmax<2>>, absmax<8>>;
  auto const train = [&](long from, long to, bool resumes, bool saves) {
    return toy::on_each_rank(ranks, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      run t({.transport = std::move(transport), .schedule = every(2)}, m.parameters());
      if (resumes) resume(t, folder.path());
      for (long step = from; step <= to; ++step) t.step(m.gradients(rank, step));
      if (saves) save(t, folder.path());
      return toy::state_of(t, m);
    });
  };
  auto const whole = train(1, 9, false, false);
  train(1, 5, false, true);
  CHECK(train(6, 9, true, false) == whole);
}

TEST_CASE("legs: gradients and robust rules go over them, too") {
  auto const all = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<none, adamw, absmax<8>, threads, error_feedback, trimmed_mean, scatter_gather_by<absmax<4>>, every,
           cpp, silent, constant_rate, gradient>
        t({.outer = {.lr = 1e-2f}, .transport = std::move(transport), .schedule = every(1)}, m.parameters());
    for (long step = 1; step <= 8; ++step) t.step(m.gradients(rank, step));
    return toy::state_of(t, m);
  });
  CHECK(all[0].at("t4 theta") == all[1].at("t4 theta"));
  CHECK(all[0].at("t4 theta") == all[2].at("t4 theta"));
  CHECK(toy::model(sizes)[4][0] != float_of(all[0].at("t4 theta")[0]));
}

TEST_CASE("legs: ranks with different compressors on the way back are refused") {
  auto const said = toy::on_each_rank(2, [&](threads transport) {
    toy::model m(sizes);
    if (transport.rank() == 0) {
      using one = trainer<scatter_gather_by<absmax<4>>, absmax<8>>;
      return toy::sentence(toy::outcome_of(one::make({.transport = std::move(transport)}, m.parameters())));
    }
    using other = trainer<scatter_gather_by<absmax<2>>, absmax<8>>;
    return toy::sentence(toy::outcome_of(other::make({.transport = std::move(transport)}, m.parameters())));
  });
  for (std::string const& each : said) {
    CAPTURE(each);
    CHECK(each.find("scatter_gather, back by absmax4/256") != std::string::npos);
    CHECK(each.find("scatter_gather, back by absmax2/256") != std::string::npos);
  }
}

TEST_CASE("legs: a number that only the first compressor can carry is refused before it is sent") {
  auto const said = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({300});
    trainer<scatter_gather_by<f16>, f32, error_feedback, plain_sgd, plain_sgd> t(
        {.inner = {.lr = 1}, .outer = {.lr = 1}, .transport = std::move(transport), .schedule = every(1)},
        m.parameters());
    auto g = m.gradients(rank, 1);
    g[0][5] = 1e6f;
    return toy::sentence(toy::outcome_of(t.try_step(g)));
  });
  for (std::string const& each : said) {
    CAPTURE(each);
    CHECK(each.find("'t0' is not finite or beyond 65504, the largest magnitude of f16") != std::string::npos);
  }
}

TEST_CASE("legs: describe names what the second compressor loses, and its residual") {
  toy::model m({300});
  auto const text = [&](auto exchange, auto feedback) {
    DiLoCo t(recipe<>{}.with_compressor(f32{}).with_feedback(feedback).with_exchange(exchange).with_transport(
                 alone{}),
             m.parameters());
    return t.describe();
  };
  CHECK(text(scatter_gather_by<f16>{}, no_feedback{}).find("below 6.1e-05 lost in part") !=
        std::string::npos);
  CHECK(text(scatter_gather_by<absmax<2>>{}, error_feedback{}).find(" + error_feedback") !=
        std::string::npos);
}
