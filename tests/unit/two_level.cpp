// SPDX-License-Identifier: Apache-2.0
// two_level: ranks combine in groups, then across groups, and forward within the group.
#include "support/folder.hpp"
#include "support/toy.hpp"

#include <diloco/snapshot.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 7, 700, 256, 9000};

template <class Exchange, class C, class F = error_feedback, class Outer = nesterov, class Inner = adamw>
using trainer = DiLoCo<Inner, Outer, C, threads, F, weighted_mean, Exchange>;

/// State of every rank after three rounds of three steps, and another step.
template <class C, class F = error_feedback, class Exchange>
std::vector<toy::bits> trained(int ranks, Exchange exchange, at_sync inner = at_sync::keep, long steps = 10) {
  return toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    trainer<Exchange, C, F> t({.exchange = exchange,
                               .transport = std::move(transport),
                               .schedule = every(3),
                               .inner_at_sync = inner},
                              m.parameters());
    for (long step = 1; step <= steps; ++step) t.step(m.gradients(rank, step), {.tokens = 1.0 + rank});
    auto state = toy::state_of(t, m);
    state["digest"] = {static_cast<std::uint32_t>(t.digest()), static_cast<std::uint32_t>(t.rounds())};
    return state;
  });
}

template <class C, class F = error_feedback, class Exchange = two_level<>>
void check_replicas(Exchange e = {}) {
  CAPTURE(C::name);
  CAPTURE(F::name);
  CAPTURE(Exchange::name);
  for (auto [ranks, group] : {std::pair{4, 2}, {6, 3}, {6, 2}}) {
    e.group = group;
    auto const all = trained<C, F>(ranks, e);
    for (toy::bits const& each : all) {
      CHECK(each.at("digest") == all[0].at("digest"));
      CHECK(each.at("t4 anchor") == all[0].at("t4 anchor"));
      CHECK(each.at("t4 outer.momentum") == all[0].at("t4 outer.momentum"));
    }
  }
}

/// Trains one step, then sends what is left over. Returns the largest distance from `start` − `share` · Σ g of
/// the ranks that `stepped`.
template <class C, class Exchange>
float left_behind(int ranks, Exchange exchange, int first_stepped, float share) {
  auto const all = toy::on_each_rank(ranks, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes), start(sizes);
    trainer<Exchange, C, error_feedback, plain_sgd, plain_sgd> t({.inner = {.lr = 1},
                                                                  .outer = {.lr = 1},
                                                                  .exchange = exchange,
                                                                  .transport = std::move(transport),
                                                                  .schedule = every(1)},
                                                                 m.parameters());
    auto nothing = m.gradients(rank, 1);
    for (auto& v : nothing) std::fill(v.begin(), v.end(), 0.0f);
    t.step(rank < first_stepped ? nothing : m.gradients(rank, 1));
    // A group that takes no step in a round says nothing then, and must keep what it could not say before.
    if (rank < first_stepped)
      t.step(nothing);
    else
      t.skip_step();
    for (int round = 0; round < 80; ++round) t.step(nothing);
    auto sum = nothing;
    for (int r = first_stepped; r < ranks; ++r) {
      auto const& g = m.gradients(r, 1);
      for (std::size_t i = 0; i < sizes.size(); ++i)
        for (std::size_t e = 0; e < sizes[i]; ++e) sum[i][e] += g[i][e] * share;
    }
    float most = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i)
      for (std::size_t e = 0; e < sizes[i]; ++e)
        most = std::max(most, std::fabs(start[i][e] - sum[i][e] - m[i][e]));
    return most;
  });
  return *std::max_element(all.begin(), all.end());
}

/// Comes to the forwarding leg so many seconds late.
class late {
 public:
  static constexpr std::string_view name = "late";
  static constexpr bool receives_in_place = true;
  static constexpr transport_traits traits{};
  late(threads inner, double seconds) : inner_(std::move(inner)), seconds_(seconds) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }
  [[nodiscard]] auto all_gather(wires w, exchange_tag tag) { return inner_.all_gather(std::move(w), tag); }
  [[nodiscard]] auto all_to_all(wires w, exchange_tag tag) { return inner_.all_to_all(std::move(w), tag); }
  [[nodiscard]] auto all_gather(wires w, rank_group g, exchange_tag tag) {
    if (tag.phase == 2) std::this_thread::sleep_for(std::chrono::duration<double>(seconds_));
    return inner_.all_gather(std::move(w), g, tag);
  }
  [[nodiscard]] auto all_to_all(wires w, rank_group g, exchange_tag tag) {
    return inner_.all_to_all(std::move(w), g, tag);
  }

 private:
  threads inner_;
  double seconds_;
};

}  // namespace

TEST_CASE("two levels: groups of one are gather, one group is scatter-gather, bit for bit") {
  CHECK(trained<absmax<4>>(3, two_level<>{1}) == trained<absmax<4>>(3, gather{}));
  CHECK(trained<absmax<4>>(3, two_level<>{3}) == trained<absmax<4>>(3, scatter_gather{}));
  CHECK(trained<absmax<8>>(3, two_level{3, absmax<4>{}}) ==
        trained<absmax<8>>(3, scatter_gather_by<absmax<4>>{}));
  // With an exact compressor before it, a second one is the first one of a gather.
  CHECK(trained<f32, no_feedback>(1, two_level{1, absmax<4>{}}) ==
        trained<f32, no_feedback>(1, scatter_gather_by<absmax<4>>{}));
}

TEST_CASE("two levels: what is exact on the way is the mean of all ranks") {
  // Gradients of few bits and equal weights: every sum is exact, in whatever order.
  auto const run = [](auto exchange) {
    return toy::on_each_rank(8, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      for (std::size_t i = 0; i < sizes.size(); ++i) std::fill(m[i].begin(), m[i].end(), 0.0f);
      trainer<decltype(exchange), f32, no_feedback, plain_sgd, plain_sgd> t(
          {.inner = {.lr = 1},
           .outer = {.lr = 1},
           .exchange = exchange,
           .transport = std::move(transport),
           .schedule = every(1)},
          m.parameters());
      for (long step = 1; step <= 3; ++step) {
        auto& g = m.gradients(rank, step);
        for (auto& v : g)
          for (float& x : v) x = std::nearbyint(640 * x);
        t.step(g);
      }
      return toy::state_of(t, m);
    });
  };
  auto const flat = run(gather{});
  CHECK(run(two_level<>{2}) == flat);
  CHECK(run(two_level<>{4}) == flat);
}

TEST_CASE("two levels: anchors are equal on all ranks") {
  check_replicas<absmax<4>>();
  check_replicas<sign<>, averaged_error>();
  check_replicas<absmax<8>, ef21>();
  check_replicas<absmax<8>, error_feedback>(two_level{2, absmax<4>{}});
  check_replicas<top_k<64>>();
  check_replicas<low_rank<2, factors::common>, mean_error_feedback>();
}

TEST_CASE("two levels: what neither leg could say is said later") {
  CHECK(left_behind<absmax<4>>(4, two_level<>{2}, 0, 1.0f / 4) < 1e-5f);
  CHECK(left_behind<absmax<8>>(6, two_level{3, absmax<2>{}}, 0, 1.0f / 6) < 1e-5f);
  CHECK(left_behind<top_k<512>>(4, two_level<>{2}, 0, 1.0f / 4) < 1e-5f);
}

TEST_CASE("two levels: an idle group keeps what it could not say") {
  CHECK(left_behind<absmax<4>>(4, two_level<>{2}, 2, 1.0f / 4) < 1e-5f);
  CHECK(left_behind<absmax<8>>(6, two_level{3, absmax<2>{}}, 3, 1.0f / 6) < 1e-5f);
  CHECK(left_behind<top_k<512>>(4, two_level<>{2}, 2, 1.0f / 4) < 1e-5f);
}

TEST_CASE("two levels: auxiliary planes are averaged over all ranks") {
  auto const flat = trained<absmax<8>>(4, gather{}, at_sync::average, 9);
  auto const grouped = trained<absmax<8>>(4, two_level<>{2}, at_sync::average, 9);
  for (char const* cell : {"t0 inner.m", "t2 inner.v", "t4 inner.m"}) {
    for (std::size_t r = 0; r < 4; ++r) {
      auto const &a = flat[0].at(cell), &b = grouped[r].at(cell);
      float most = 0;
      for (std::size_t i = 0; i < a.size(); ++i)
        most = std::max(most, std::fabs(float_of(a[i]) - float_of(b[i])));
      CHECK(most < 1e-6f);
      CHECK(b == grouped[0].at(cell));
    }
  }
}

TEST_CASE("two levels: bytes between groups are those of a gather of groups over the group's size") {
  constexpr int ranks = 8;
  for (int group : {2, 4}) {
    toy::on_each_rank(ranks, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(std::vector<std::size_t>(8, 4096));
      counted<threads> counts(std::move(transport), group);
      auto const traffic = counts.counts();
      DiLoCo<adamw, nesterov, absmax<8>, counted<threads>, error_feedback, weighted_mean,
             two_level<absmax<4>>>
          t({.exchange = {group, {}}, .transport = std::move(counts), .schedule = every(1)}, m.parameters());
      t.step(m.gradients(rank, 1));
      auto const before = traffic->sent_bytes.load(), far = traffic->between_groups.load();
      t.step(m.gradients(rank, 2));
      CHECK(traffic->sent_bytes - before == t.wire_bytes_per_round());
      CHECK(traffic->between_groups - far == t.wire_bytes_between_groups());
      std::size_t const g = static_cast<std::size_t>(group), groups = ranks / g;
      // A tensor is 2,048 bytes of codes and 16 scales of 4 bytes.
      std::size_t const whole = 8 * (2048 + 64), votes = (ranks - g) * vote_bytes;
      CHECK(t.wire_bytes_between_groups() == (groups - 1) * (sizeof(message_header) + whole / g) + votes);
      CHECK(t.describe().find("two_level, across by absmax4/256 over threads×8 in groups of ") !=
            std::string::npos);
      return 0;
    });
  }
}

TEST_CASE("two levels: a streaming run goes on from a snapshot, bit for bit") {
  constexpr int ranks = 4;
  support::folder const folder;
  using run =
      DiLoCo<adamw, nesterov, absmax<4>, threads, error_feedback, weighted_mean, two_level<>, streaming>;
  auto const train = [&](long from, long to, bool resumes, bool saves) {
    return toy::on_each_rank(ranks, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      run t({.exchange = {2},
             .transport = std::move(transport),
             .schedule = {.inner_steps = 4, .parts = 2, .delay = 1}},
            m.parameters());
      if (resumes) resume(t, folder.path());
      for (long step = from; step <= to; ++step) t.step(m.gradients(rank, step));
      if (saves) save(t, folder.path());
      return toy::state_of(t, m);
    });
  };
  auto const whole = train(1, 11, false, false);
  train(1, 6, false, true);  // after a launch and before its landing
  CHECK(train(7, 11, true, false) == whole);
}

TEST_CASE("two levels: gradients go over them, too") {
  auto const run = [](auto exchange) {
    return toy::on_each_rank(4, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<none, adamw, absmax<8>, threads, error_feedback, weighted_mean, decltype(exchange), every, cpp,
             silent, constant_rate, gradient>
          t({.outer = {.lr = 1e-2f},
             .exchange = exchange,
             .transport = std::move(transport),
             .schedule = every(1)},
            m.parameters());
      for (long step = 1; step <= 8; ++step) t.step(m.gradients(rank, step));
      return toy::state_of(t, m);
    });
  };
  auto const all = run(two_level<>{2});
  for (toy::bits const& each : all) CHECK(each.at("t4 theta") == all[0].at("t4 theta"));
  CHECK(all[0].at("t4 theta") != run(gather{})[0].at("t4 theta"));
}

TEST_CASE("two levels: element-wise weights, and robust rules not") {
  auto const run = [](auto exchange) {
    return toy::on_each_rank(4, [&](threads transport) {
      int const rank = transport.rank();
      toy::model m(sizes);
      DiLoCo<ivon, plain_sgd, f32, threads, no_feedback, precision_weighted, decltype(exchange)> t(
          {.inner = {.lr = 0.1f},
           .outer = {.lr = 1},
           .exchange = exchange,
           .transport = std::move(transport),
           .schedule = every(2)},
          m.parameters());
      for (long step = 1; step <= 8; ++step) t.step(m.gradients(rank, step));
      return toy::state_of(t, m);
    });
  };
  auto const flat = run(gather{}), grouped = run(two_level<>{2});
  float most = 0;
  auto const &a = flat[0].at("t4 anchor"), &b = grouped[0].at("t4 anchor");
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::fabs(float_of(a[i]) - float_of(b[i])));
  CHECK(most < 1e-5f);
  CHECK(grouped[3].at("t4 anchor") == b);
}

TEST_CASE("two levels: bad groups are refused") {
  auto const said = [](int ranks, auto group_of) {
    return toy::on_each_rank(ranks, [&](threads transport) {
      toy::model m(sizes);
      int const group = group_of(transport.rank());
      using run = trainer<two_level<>, absmax<4>>;
      return toy::sentence(toy::outcome_of(
          run::make({.exchange = {group}, .transport = std::move(transport)}, m.parameters())));
    });
  };
  for (std::string const& each : said(4, [](int) { return 3; }))
    CHECK(each.find("exchange two_level: groups of 3 do not divide 4 ranks; take a divisor") !=
          std::string::npos);
  for (std::string const& each : said(4, [](int) { return 8; }))
    CHECK(each.find("groups of 8 do not divide 4 ranks") != std::string::npos);
  for (std::string const& each : said(2, [](int) { return 0; }))
    CHECK(each.find("exchange two_level: group = 0 must be a number not below 1") != std::string::npos);
  for (std::string const& each : said(4, [](int r) { return r == 2 ? 4 : 2; }))
    CHECK(each.find("exchange's group") != std::string::npos);
}

TEST_CASE("two levels: other groups name the rank that caused a refusal") {
  auto const said = toy::on_each_rank(6, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<plain_sgd, plain_sgd, absmax<4>, threads, error_feedback, weighted_mean, two_level<>, manual> t(
        {.exchange = {3}, .transport = std::move(transport), .schedule = manual{}}, m.parameters());
    t.step(m.gradients(rank, 1));
    if (rank == 4) m[2][5] = std::numeric_limits<float>::quiet_NaN();
    return toy::sentence(toy::outcome_of(t.try_sync()));
  });
  for (std::size_t rank : {3u, 4u, 5u})
    CHECK(said[rank].find("rank 4: the pseudo-gradient of 't2'") != std::string::npos);
  for (std::size_t rank : {0u, 1u, 2u}) {
    CAPTURE(said[rank]);
    bool const of_rank_4 = rank == 1;  // it has the same place in its group
    CHECK(said[rank].find(of_rank_4
                              ? "rank 4 refused the round, because one of its values cannot be sent"
                              : "refused the round because of rank 4: one of its values cannot be sent") !=
          std::string::npos);
  }
}

TEST_CASE("two levels: a rank that is late in a later leg commits with all or with none") {
  // Rank 1 comes to its second leg 1.4 deadlines late. Its group waits for it, and so must the vote.
  auto const rounds = toy::on_each_rank(4, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo<plain_sgd, plain_sgd, absmax<4>, late, error_feedback, weighted_mean, two_level<>, manual> t(
        {.exchange = {2},
         .transport = late(std::move(transport), rank == 1 ? 0.7 : 0.0),
         .schedule = manual{},
         .deadline_seconds = 0.5},
        m.parameters());
    t.step(m.gradients(rank, 1));
    static_cast<void>(t.try_sync());
    return t.rounds();
  });
  for (auto const each : rounds) CHECK(each == rounds[0]);
}
