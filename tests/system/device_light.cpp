// SPDX-License-Identifier: Apache-2.0
// Runs on the device of device.cpp with light checks. A step then waits for nothing, and a whole round may
// still be queued when the next call comes.
// Covers gradients in other memory in each step, refused steps, dropped rounds, a flight in between and the
// end of a trainer. All errors and results must be those of the host.
#define DILOCO_CHECKS 1
#include "support/lazy_device.hpp"
#include "support/placed.hpp"

#include <diloco/executor/state_on_host.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <memory>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{1, 255, 4097, 513};

/// One run and its error messages.
template <class Trainer, class Executor>
class run {
 public:
  using recipe_type = typename Trainer::recipe_type;
  run(recipe_type r, bool narrow)
      : rank_(r.transport.rank()),
        where_(r.executor),
        p_(where_, sizes, narrow),
        t_(std::move(r), p_.parameters) {
    for (long step = 0; step < 6; ++step) {
      elsewhere_.push_back(std::make_unique<placed<Executor>>(where_, sizes));
      elsewhere_.back()->at(rank_, step);
    }
  }
  std::vector<std::string> said() {
    rounds();
    hear(t_.try_reset_feedback());
    spoiled_round();
    for (int k : {2, 3}) step(k, 1);
    hear(t_.try_sync());
    told_.push_back(std::to_string(t_.digest()));
    told_.push_back(std::to_string(bits_of(t_.gradient_norm())));
    return told_;
  }

 private:
  void hear(result<> const& r) { told_.push_back(r ? "fine" : r.error().message); }
  void step(int k, double tokens, bool refused = false) {
    auto gradients = elsewhere_[static_cast<std::size_t>(k)]->gradients;
    if (refused) gradients[2] = gradients[2].subspan(1);
    hear(t_.try_step(gradients, {.lr_scale = 1.0f / static_cast<float>(k + 1), .tokens = tokens}));
  }
  void rounds() {
    for (int k = 0; k < 6; ++k) {
      step(k, k == 2 ? 0.0 : 1.0 + rank_);
      // gradient addresses of a refused step must not be used for the next step
      if (k == 1) step(3, 1, true);
      if (k == 0 || k == 3) continue;
      auto flight = t_.try_launch();
      REQUIRE(flight);
      if (k == 4) {
        step(0, 1);
        step(1, 1);
      }
      hear(t_.try_land(std::move(*flight),
                       {.mix = k == 4 ? 0.25f : 0.0f}));  // no token was counted after step 2
    }
  }
  /// A number that cannot be sent, on one rank.
  void spoiled_round() {
    float* const theta = p_.parameters[3].data;
    put(theta, rank_ == 1 ? std::numeric_limits<float>::infinity() : 1.0f);
    step(5, 1);
    hear(t_.try_sync());
    told_.push_back(std::to_string(t_.digest()));
    put(theta, 0.5f);
  }
  void put(float* to, float x) const {
    std::vector<float> const v(513, x);
    if constexpr (Executor::columns_on_host) {
      std::memcpy(to, v.data(), v.size() * sizeof(float));
    } else {
      where_.copy_from_host(to, v.data(), v.size() * sizeof(float));
      where_.wait();
    }
  }

  int rank_;
  Executor where_;
  placed<Executor> p_;
  std::vector<std::unique_ptr<placed<Executor>>> elsewhere_;
  Trainer t_;
  std::vector<std::string> told_;
};

template <class Outer, class C, class F, class X>
struct with {
  template <class Transport, class Executor>
  static std::vector<std::string> over(Transport transport, Executor where, X exchange, at_sync at,
                                       float clip) {
    using trainer = DiLoCo<adamw, Outer, C, Transport, F, weighted_mean, X, manual, Executor, silent>;
    return run<trainer, Executor>({.exchange = exchange,
                                   .transport = std::move(transport),
                                   .executor = where,
                                   .clip_norm = clip,
                                   .inner_at_sync = at},
                                  at == at_sync::average)
        .said();
  }
  static void check(X exchange, at_sync at = at_sync::keep, float clip = no_clipping) {
    CAPTURE(X::name);
    CAPTURE(C::name);
    auto const each = [&](auto where, auto around) {
      return toy::on_each_rank(
          3, [&](threads t) { return over(around(std::move(t)), where(), exchange, at, clip); });
    };
    auto const plain = [](threads t) { return t; };
    auto const on_device = [](threads t) { return device_threads(std::move(t)); };
    auto const host = each([] { return cpp{}; }, plain);
    CHECK(each([] { return lazy_device{}; }, plain) == host);
    CHECK(each([] { return lazy_device{}; }, on_device) == host);
    CHECK(each([] { return state_on_host<lazy_device>{}; }, on_device) == host);
    CHECK(over(alone{}, lazy_device{}, exchange, at, clip) == over(alone{}, cpp{}, exchange, at, clip));
  }
};

}  // namespace

TEST_CASE("device, light: gather") { with<nesterov, absmax<4>, error_feedback, gather>::check({}); }
TEST_CASE("device, light: scatter-gather, clipped, bfloat16, inner state averaged") {
  with<nesterov, absmax<4>, error_feedback, scatter_gather>::check({}, at_sync::average, 0.5f);
}
TEST_CASE("device, light: top_k, inner state reset") {
  with<nesterov, top_k<64>, error_feedback, scatter_gather>::check({}, at_sync::reset);
}
TEST_CASE("device, light: pairs") { with<noloco, absmax<8>, no_feedback, gossip>::check({3}); }

TEST_CASE("device, light: a trainer that ends waits for what was enqueued") {
  lazy_device const where;
  placed<lazy_device> p(where, sizes);
  int waits = 0;
  {
    DiLoCo<adamw, nesterov, f32, alone, no_feedback, weighted_mean, gather, manual, lazy_device, silent>
        first({.transport = alone{}, .executor = where}, p.parameters);
    first.step(p.at(0, 0));
    auto second = std::move(first);
    second.step(p.gradients);
    waits = where.waits();
  }
  CHECK(where.waits() == waits + 1);  // by the object that owns the memory
}
