// SPDX-License-Identifier: Apache-2.0 Properties of single optimizers on single numbers: first steps, cases
// at zero, and the closed sums of schedule-free.
#include <diloco/optimizer/adam.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/bmuf.hpp>
#include <diloco/optimizer/delayed_nesterov.hpp>
#include <diloco/optimizer/fedopt.hpp>
#include <diloco/optimizer/schedule_free_adamw.hpp>
#include <diloco/optimizer/sgd.hpp>
#include <diloco/optimizer/signum.hpp>
#include <diloco/optimizer/slowmo.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace diloco;
using doctest::Approx;

namespace {

/// One parameter and its state.
struct element {
  float p = 0, a = 0, b = 0;
  std::uint64_t t = 0;

  template <class O>
  float step(O const& o, float g, float lr_scale = 1.0f, float inner_lr_scale = 1.0f) {
    auto const f = o.at({++t, lr_scale, 1.0f, inner_lr_scale});
    if constexpr (slot_count<O> == 2)
      f(p, g, a, b);
    else if constexpr (slot_count<O> == 1)
      f(p, g, a);
    else
      f(p, g);
    return p;
  }
};

}  // namespace

TEST_CASE("sgd: dampening does not touch the first step, as in PyTorch") {
  sgd const o{.lr = 0.1f, .momentum = 0.9f, .dampening = 0.5f};
  element x;
  CHECK(x.step(o, 1) == Approx(-0.1));
  CHECK(x.step(o, 2) == Approx(-0.1 - 0.1 * (0.9 * 1 + 0.5 * 2)));
  CHECK(x.step(o, 0) == Approx(-0.1 - 0.1 * 1.9 - 0.1 * 0.9 * 1.9));
}

TEST_CASE("adam: weight decay passes through the moments, in adamw beside them") {
  // Without a gradient only the decay acts. Adam normalizes it to a whole step; AdamW subtracts lr·wd of p.
  element l2{.p = 2}, decoupled{.p = 2};
  CHECK(l2.step(adam{.lr = 0.1f, .weight_decay = 0.01f}, 0) == Approx(2 - 0.1).epsilon(1e-5));
  CHECK(decoupled.step(adamw{.lr = 0.1f, .weight_decay = 0.01f}, 0) == Approx(2 - 0.1 * 0.01 * 2));
  element same, twin;
  for (float g : {0.3f, -2.0f, 0.01f}) {
    CHECK(same.step(adam{.lr = 0.1f}, g) == twin.step(adamw{.lr = 0.1f, .weight_decay = 0.0f}, g));
  }
}

TEST_CASE("signs: zero of either sign moves nothing") {
  element x{.p = 1}, y{.p = 1};
  CHECK(x.step(sign_sgd{}, 0.0f) == 1);
  CHECK(x.step(sign_sgd{}, -0.0f) == 1);
  CHECK(x.step(sign_sgd{.lr = 0.25f}, -1e-30f) == 1.25f);
  CHECK(y.step(signum{}, -0.0f) == 1);
  CHECK(y.step(signum{.lr = 0.25f}, 1e-30f) == 0.75f);
  CHECK(y.step(signum{.lr = 0.25f, .beta = 0.9f}, -1e-31f) == 0.5f);  // the average is still above zero
}

TEST_CASE("FedOpt: first steps without bias correction") {
  element adam, yogi, adagrad;
  CHECK(adam.step(fedadam{.lr = 1, .tau = 0.01f}, 0.5f) == Approx(-0.1 * 0.5 / (0.1 * 0.5 + 0.01)));
  CHECK(yogi.step(fedyogi{.lr = 1, .tau = 0.01f}, 0.5f) == Approx(-0.1 * 0.5 / (0.1 * 0.5 + 0.01)));
  CHECK(adagrad.step(fedadagrad{.lr = 1, .tau = 0.01f}, 0.5f) == Approx(-0.5 / (0.5 + 0.01)));
}

TEST_CASE("FedYogi: v shrinks by steps of Δ², FedAdam's by a share of itself") {
  element adam, yogi;
  fedadam const a{.beta2 = 0.5f};
  fedyogi const y{.beta2 = 0.5f};
  adam.step(a, 8), yogi.step(y, 8);
  CHECK(adam.b == 32);
  CHECK(yogi.b == 32);
  adam.step(a, 1), yogi.step(y, 1);
  CHECK(adam.b == 16.5f);
  CHECK(yogi.b == 31.5f);
  yogi.b = 1;
  yogi.step(y, 1);  // v = Δ²: sign(0) = 0
  CHECK(yogi.b == 1);
}

TEST_CASE("FedOpt: without momentum the step is by Δ itself, however large the one before") {
  element x;
  fedadagrad const o{.lr = 1, .beta1 = 0, .tau = 1e-3f};
  x.step(o, 1e6f);
  x.step(o, 1e-3f);
  CHECK(x.a == 1e-3f);
}

TEST_CASE("slowmo: what is remembered is a gradient, and follows the inner rate") {
  slowmo const o{.lr = 1, .momentum = 0.5f, .inner_lr = 0.1f};
  element x;
  // From the second round on, inner steps are ten times smaller, along the same gradient 3.
  x.step(o, 0.1f * 3.0f);
  CHECK(x.p == Approx(-0.3));
  x.step(o, 0.01f * 3.0f, 1.0f, 0.1f);
  CHECK(x.a == Approx(3 + 0.5 * 3));
  CHECK(x.p == Approx(-0.3 - 0.01 * 4.5));
  float const before = x.p;
  x.step(o, 0.0f, 1.0f, 0.0f);  // an inner rate of 0 must not be divided by
  CHECK(x.p == before);
  CHECK(x.a == Approx(2.25));
  element y;
  y.step(o, 0.3f, 0.5f);  // a schedule of rounds scales the step, and not what is remembered
  CHECK(y.a == Approx(3));
  CHECK(y.p == Approx(-0.15));
}

TEST_CASE("bmuf: the Nesterov variant keeps the classical model, η·D ahead of which the next block starts") {
  bmuf const classical{.block_lr = 0.8f, .momentum = 0.6f},
      nesterov{.block_lr = 0.8f, .momentum = 0.6f, .nesterov = true};
  element phi{.p = 3}, start{.p = 3};
  for (float g : {0.5f, -0.25f, 1.0f, 0.0f}) {
    phi.step(classical, g), start.step(nesterov, g);
    CHECK(start.a == phi.a);
    CHECK(double(start.p) + 0.6 * double(start.a) == Approx(double(phi.p)));
  }
}

TEST_CASE(
    "delayed Nesterov: one contribution moves lr/(N·(1−β)) in all, whatever the activation and its place") {
  for (float c : {0.0f, 0.1f, 0.25f}) {
    for (int place : {1, 3, 4}) {
      delayed_nesterov const o{.lr = 0.5f, .momentum = 0.8f, .period = 4, .activation = c};
      element x;
      for (int t = 1; t <= 400; ++t) x.step(o, t == place ? 2.0f : 0.0f);
      CAPTURE(c);
      CAPTURE(place);
      CHECK(x.p == Approx(-2 * 0.5 / (4 * (1 - 0.8))).epsilon(1e-5));
      CHECK(x.b == 0);
    }
  }
}

TEST_CASE("delayed Nesterov: the momentum moves at releases alone, or a part of it at each call") {
  element x{.a = 1}, y{.a = 1};
  delayed_nesterov const all_at_once{.lr = 1, .momentum = 0.5f, .period = 4, .activation = 0},
      evenly{.lr = 1, .momentum = 0.5f, .period = 4, .activation = 0.25f};
  CHECK(x.step(all_at_once, 0) == 0);
  CHECK(y.step(evenly, 0) == -0.125f);
  for (int t = 0; t < 3; ++t) x.step(all_at_once, 0), y.step(evenly, 0);
  CHECK(x.p == -0.25f);  // the momentum has decayed to 1/2 at the release and moves p by β of it
  CHECK(y.p == -3 * 0.125f - 0.25f * 0.5f * 0.5f);
}

TEST_CASE("schedule-free: weights of the average in closed form are those added up") {
  double worst = 0;
  for (double r : {0.0, 0.25, 0.75, double(0.1f), 1.0, 2.0, 4.0}) {
    for (double power : {0.0, 1.0, 2.0, 2.5, 4.0}) {
      for (long warmup : {0L, 1L, 2L, 15L, 17L, 300L}) {
        long double sum = 0;
        for (long k = 1; k <= 1500; ++k) {
          long double const ramp =
              k < warmup ? static_cast<long double>(k) / static_cast<long double>(warmup) : 1.0L;
          long double const w = std::pow(static_cast<long double>(k), static_cast<long double>(r)) *
                                std::pow(ramp, static_cast<long double>(power));
          sum += w;
          auto const closed = detail::share_of_last(static_cast<std::uint64_t>(k),
                                                    static_cast<std::uint64_t>(warmup), r, power);
          worst = std::max(worst, static_cast<double>(std::fabs(closed * sum / w - 1)));
        }
      }
    }
  }
  CHECK(worst < 1e-11);
  CHECK(detail::share_of_last(1, 0, 0.75, 2) == 1);
  CHECK(detail::share_of_last(1000000000000, 0, 0, 2) == 1e-12);
}

TEST_CASE("schedule-free: warm-up, and a constant lr_scale that is a smaller rate") {
  // Without β₁ and decay, the first step is lr·sign(g). eps takes 1e-7 of it.
  for (auto const& [warmup, rate] : {std::pair{0L, 0.1}, {1L, 0.1}, {4L, 0.025}}) {
    element x{.p = 1};
    CHECK(x.step(schedule_free_adamw{.lr = 0.1f, .warmup = warmup}, 0.3f) == Approx(1 - rate));
  }
  element scaled{.p = 1}, smaller{.p = 1};
  schedule_free_adamw const o{.lr = 0.1f, .warmup = 4}, quarter{.lr = 0.025f, .warmup = 4};
  for (float g : {0.3f, -2.0f, 0.01f, 0.5f, 0.5f, 0.1f, -0.7f})
    CHECK(scaled.step(o, g, 0.25f) == smaller.step(quarter, g));
}

TEST_CASE(
    "schedule-free: x is the weighted mean of the z's and y between them, also if the first steps are "
    "skipped") {
  schedule_free_adamw const o{
      .lr = 0.1f, .beta1 = 0.8f, .beta2 = 0.9f, .weight_decay = 0.05f, .warmup = 3, .r = 1.5f};
  for (std::uint64_t skipped : {0, 2}) {
    CAPTURE(skipped);
    element y{.p = 1, .t = skipped};
    auto const weight = [](double t) { return std::pow(t, 1.5) * std::pow(std::min(1.0, t / 3), 2.0); };
    double z = 1, v = 0, weights = skipped == 0 ? 0 : weight(1) + weight(2), sum = weights * z;
    CHECK(o.evaluation_point()(y.p, y.a) == 1);
    for (float g : {0.3f, -2.0f, 0.01f, 0.5f, 0.5f, 0.1f, -0.7f}) {
      double const t = static_cast<double>(y.t) + 1, before = double(y.p);
      y.step(o, g);
      v = 0.9 * v + 0.1 * double(g) * double(g);
      z -= 0.1 * std::min(1.0, t / 3) * (double(g) / std::sqrt(v / (1 - std::pow(0.9, t))) + 0.05 * before);
      sum += weight(t) * z;
      weights += weight(t);
      double const x = sum / weights;
      CHECK(double(y.p) == Approx(0.8 * x + 0.2 * z).epsilon(1e-6));
      CHECK(double(y.a) == Approx(z - double(y.p)).epsilon(1e-5));
      CHECK(o.evaluation_point()(y.p, y.a) == Approx(x).epsilon(1e-6));
    }
  }
}
