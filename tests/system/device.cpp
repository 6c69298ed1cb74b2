// SPDX-License-Identifier: Apache-2.0
// Runs on a fake device. The host cannot touch its memory, and it does nothing until the host waits. The bits
// must be those of a host run.
// Covers all patterns, messages in device or host memory, state on the host, and host workers in the same
// run.
#include "support/lazy_device.hpp"
#include "support/placed.hpp"
#include "support/thread_lanes.hpp"

#include <diloco/executor/state_on_host.hpp>

#include <doctest/doctest.h>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{1, 255, 4097, 513, 9000};
constexpr long steps = 8;

/// Digests of the anchor and the gradient norm after each step.
template <class C, class F, class Transport, class Executor, class X>
std::vector<std::uint64_t> run(Transport transport, Executor where, X exchange, bool narrow, bool clip,
                               bool late) {
  int const rank = transport.rank();
  placed<Executor> p(where, sizes, narrow);
  using trainer = DiLoCo<adamw, nesterov, C, Transport, F, weighted_mean, X, every, Executor, silent>;
  trainer t({.exchange = exchange,
             .transport = std::move(transport),
             .schedule = every(late ? 1000 : 2),
             .executor = where,
             .clip_norm = clip ? 0.5f : no_clipping},
            p.parameters);
  std::vector<std::uint64_t> seen{t.digest()};
  std::optional<typename trainer::flight> flight;
  for (long step = 0; step < steps; ++step) {
    t.step(p.at(rank, step), {.tokens = 1.0 + rank});
    if (late && step % 2 == 1) flight.emplace(t.launch());  // the next step is taken during the flight
    if (late && step % 2 == 0 && flight) t.land(*std::exchange(flight, std::nullopt), {.mix = 0.25f});
    seen.push_back(t.digest());
    seen.push_back(bits_of(t.gradient_norm()));
  }
  if (flight) t.land(std::move(*flight));
  seen.push_back(t.digest());
  return seen;
}

template <class C, class F = error_feedback>
struct with {
  using compressor = C;
  using feedback = F;
};

using of_host = state_on_host<lazy_device>;

}  // namespace

TEST_CASE_TEMPLATE_DEFINE("device: the bits of the host, whatever lies where", W, bits) {
  using C = typename W::compressor;
  using F = typename W::feedback;
  auto const check = [](auto exchange, bool narrow, bool clip, bool late) {
    CAPTURE(late);
    auto const each = [&](auto where, auto over) {
      return toy::on_each_rank(3, [&](threads t) {
        return run<C, F>(over(std::move(t)), where(t.rank()), exchange, narrow, clip, late);
      });
    };
    auto const plain = [](threads t) { return t; };
    auto const on_device = [](threads t) { return device_threads(std::move(t)); };
    auto const host = each([](int) { return cpp{}; }, plain);
    CHECK(host[0].size() == 2 * steps + 2);
    CHECK(each([](int) { return lazy_device{}; }, plain) == host);
    CHECK(each([](int) { return lazy_device{}; }, on_device) == host);
    CHECK(each([](int) { return of_host{}; }, on_device) == host);
  };
  check(gather{}, true, false, false);
  check(scatter_gather{}, false, true, true);
}
TEST_CASE_TEMPLATE_INVOKE(bits, with<f32>, with<absmax<4>>, with<absmax<8>, averaged_error>, with<top_k<64>>,
                          with<dct_top_k<32>>, with<low_rank<2, factors::common>, mean_error_feedback>);

TEST_CASE_TEMPLATE_DEFINE("device: a worker of the host, one on a device and one of 32 lanes in one run", W,
                          mixed) {
  using C = typename W::compressor;
  using F = typename W::feedback;
  auto const host = toy::on_each_rank(
      3, [](threads t) { return run<C, F>(std::move(t), cpp{}, scatter_gather{}, true, false, false); });
  auto const seen = toy::on_each_rank(3, [](threads t) {
    int const rank = t.rank();
    if (rank == 0) return run<C, F>(std::move(t), cpp{}, scatter_gather{}, true, false, false);
    if (rank == 1) return run<C, F>(std::move(t), lazy_device{}, scatter_gather{}, true, false, false);
    return run<C, F>(std::move(t), lane_threads{}, scatter_gather{}, true, false, false);
  });
  CHECK(seen == host);
  for (std::size_t round = 0; round < 4; ++round) {
    std::size_t const digest = 3 + 4 * round;  // each step leaves two numbers
    CHECK(seen[1][digest] == seen[0][digest]);
    CHECK(seen[2][digest] == seen[0][digest]);
  }
}
TEST_CASE_TEMPLATE_INVOKE(mixed, with<absmax<4>>, with<top_k<64>>);

TEST_CASE("device: a launch waits for nobody where wires lie on the device, and once where they do not") {
  auto const waits_of_launch = [](auto over) {
    return toy::on_each_rank(1, [&](threads t) {
      lazy_device const where;
      placed<lazy_device> p(where, sizes);
      auto transport = over(std::move(t));
      DiLoCo<external, nesterov, absmax<4>, decltype(transport), error_feedback, weighted_mean, gather,
             manual, lazy_device, silent>
          trainer({.transport = std::move(transport), .executor = where}, p.parameters);
      trainer.skip_step(1.0);
      int const before = where.waits();
      auto flight = trainer.launch();
      int const in_launch = where.waits() - before;
      trainer.land(std::move(flight));
      return in_launch;
    })[0];
  };
  CHECK(waits_of_launch([](threads t) { return device_threads(std::move(t)); }) == 0);
  CHECK(waits_of_launch([](threads) { return alone{}; }) == 0);
  CHECK(waits_of_launch([](threads) { return counted(alone{}); }) == 0);
  CHECK(waits_of_launch([](threads t) { return t; }) == 1);
}

TEST_CASE("device: state_on_host keeps what only rounds touch on the host, and says how much") {
  auto const [placed_bytes, state_bytes, on_device] = toy::on_each_rank(1, [](threads t) {
    of_host const where;
    placed<of_host> p(where, sizes);
    DiLoCo<adamw, nesterov, absmax<4>, threads, error_feedback, weighted_mean, gather, every, of_host, silent>
        trainer({.transport = std::move(t), .schedule = every(2), .executor = where}, p.parameters);
    bool fine = true;
    for (char const* column : {"anchor", "residual", "outer.momentum"})
      fine = fine && !device_memory::holds(trainer.cell("t2", column).data());
    for (char const* column : {"inner.m", "inner.v"})
      fine = fine && device_memory::holds(trainer.cell("t2", column).data());
    auto const f = trainer.footprint();
    return std::tuple{f.placed_bytes, f.state_bytes, fine};
  })[0];
  CHECK(on_device);
  CHECK(placed_bytes * 6 == state_bytes * 4);  // anchor, two residuals and momentum, plus AdamW's two
}
