// SPDX-License-Identifier: Apache-2.0
// What `largest()` promises: contributions of at most that magnitude keep slots and anchor finite forever.
// This holds for any signs and for anchors up to half the largest float.
// It must also not be much less than what the optimizer can bear.
#include "support/whole_tensor.hpp"

#include <doctest/doctest.h>

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>
#endif

#include <algorithm>
#include <cmath>

namespace {

using namespace diloco;

constexpr float half_of_all = static_cast<float>(unbounded / 2);

/// Sign and size of the t-th contribution, as a share of the largest.
float share_of(int pattern, int t) {
  switch (pattern) {
    case 0:
      return 1.0f;
    case 1:
      return t % 2 == 0 ? 1.0f : -1.0f;
    case 2:
      return t % 7 < 3 ? 1.0f : -1.0f;
    case 3:
      return t % 1000 == 0 ? 1.0f : 0.0f;  // then silence
    case 4:
      return t % 1000 < 900 ? 1.0f : -1.0f;  // a buffer that fills and then reverses
    case 5:
      return static_cast<float>((t * 2654435761u >> 31) & 1u) * 2.0f - 1.0f;
    default:
      return t < 5000 ? 1.0f : 1e-30f;  // large, then almost zero
  }
}
/// The anchor before that contribution, at most `most`.
float anchor_of(int pattern, int t, float p, float most) {
  switch (pattern) {
    case 0:
      return most;
    case 1:
      return -most;
    case 2:
      return t % 3 == 0 ? most : -most;
    case 3:
      return 0.0f;
    default:
      return std::clamp(p, -most, most);  // the value after the previous step
  }
}

template <class O>
bool finite_for_ever(O const& o, float g, float most, int rounds = 10000) {
  for (int pattern = 0; pattern < 7; ++pattern) {
    for (int anchors = 0; anchors < 5; ++anchors) {
      float p = 0, slots[2] = {};
      for (int t = 1; t <= rounds; ++t) {
        p = anchor_of(anchors, t, p, most);
        float const x = g * share_of(pattern, t);
        auto const step = o.at({static_cast<std::uint64_t>(t), 1.0f});
        if constexpr (wants_mean_anchor<O>)
          step(p, x, anchor_of(2, t + anchors, -p, most), slots[0]);
        else if constexpr (sampling_optimizer<O>)
          step(p, x, diloco::fma((t % 5 < 3 ? 6.0f : -6.0f), step.deviation(slots[0], slots[1]), p), slots[0],
               slots[1]);
        else if constexpr (slot_count<O> == 0)
          step(p, x);
        else if constexpr (slot_count<O> == 1)
          step(p, x, slots[0]);
        else
          step(p, x, slots[0], slots[1]);
        if (!std::isfinite(p) || !std::isfinite(slots[0]) || !std::isfinite(slots[1])) {
          CAPTURE(pattern);
          CAPTURE(anchors);
          CAPTURE(t);
          CHECK_MESSAGE(false, O::name, " is not finite");
          return false;
        }
      }
    }
  }
  return true;
}

template <class... O>
void bears_its_largest(O const&... all) {
  auto const check = [](auto const& o) {
    CAPTURE(o.name);
    CAPTURE(field_text(o));
    REQUIRE(field_error("outer", o).empty());
    CHECK(o.largest() > 0);
    CHECK(finite_for_ever(o, o.largest(), half_of_all));
  };
  (check(all), ...);
}

/// Whether 100,000 rounds with `times` the largest contribution overflow something.
template <class O>
bool breaks_at(O const& o, float times) {
  double const wanted = static_cast<double>(o.largest()) * static_cast<double>(times);
  if (wanted > unbounded) return true;  // no float is larger
  float p = 0, slots[2] = {};
  for (int t = 1; t <= 100000; ++t) {
    p = half_of_all;
    auto const step = o.at({static_cast<std::uint64_t>(t), 1.0f});
    float const x = -static_cast<float>(wanted);
    if constexpr (slot_count<O> == 0)
      step(p, x);
    else if constexpr (slot_count<O> == 1)
      step(p, x, slots[0]);
    else
      step(p, x, slots[0], slots[1]);
    if (!std::isfinite(p) || !std::isfinite(slots[0]) || !std::isfinite(slots[1])) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("largest: every outer optimizer stays finite under contributions of that magnitude") {
  float const close_to_one = 0.99999994f;
  bears_its_largest(
      nesterov{}, nesterov{.lr = 1, .momentum = close_to_one}, nesterov{.lr = 0}, nesterov{.lr = 30},
      nesterov{.momentum = 0}, heavy_ball{}, heavy_ball{.lr = 1, .momentum = close_to_one},
      heavy_ball{.lr = 1e30f}, lookahead{}, lookahead{.alpha = 1}, lookahead{.alpha = 0}, slowmo{},
      slowmo{.lr = 3, .momentum = 0.99f, .inner_lr = 1e-6f}, slowmo{.inner_lr = 1e20f},
      slowmo{.inner_lr = 1e-37f}, bmuf{}, bmuf{.nesterov = true}, bmuf{.block_lr = 5, .momentum = 0.99f},
      bmuf{.block_lr = 0}, bmuf{.momentum = 0.9f, .nesterov = true}, sign_sgd{}, sign_sgd{.lr = 1e30f},
      plain_sgd{}, plain_sgd{.lr = 1}, plain_sgd{.lr = 2, .weight_decay = 1e-4f});
  bears_its_largest(delayed_nesterov{}, delayed_nesterov{.period = 1}, delayed_nesterov{.period = 5000},
                    delayed_nesterov{.lr = 3, .momentum = 0.999f, .period = 3, .activation = 0.33f}, sgd{},
                    sgd{.lr = 1, .momentum = 0.9f}, sgd{.lr = 1, .momentum = 0.9f, .nesterov = true},
                    sgd{.lr = 1, .momentum = 0.9f, .dampening = 0.9f}, sgd{.momentum = 0.5f, .dampening = 1},
                    sgd{.lr = 0.5f, .momentum = 0.9f, .weight_decay = 1e-3f}, lion{},
                    lion{.beta1 = 0.3f, .beta2 = 0.3f}, lion{.lr = 1, .weight_decay = 0.5f}, signum{},
                    signum{.beta = 0.3f}, signum{.beta = close_to_one});
  bears_its_largest(
      fedadam{}, fedadam{.lr = 1, .beta1 = 0, .beta2 = 0}, fedadam{.lr = 1, .beta2 = close_to_one},
      fedadam{.lr = 1, .beta1 = 0.9999f, .beta2 = 0.5f, .tau = 1e-30f}, fedyogi{},
      fedyogi{.lr = 1, .beta2 = 0}, fedyogi{.lr = 1, .beta2 = close_to_one}, fedadagrad{},
      fedadagrad{.lr = 1, .beta1 = 0.99f, .tau = 1e-10f}, fedadagrad{.tau = 1e-38f}, adamw{},
      adamw{.lr = 1, .beta1 = 0.999f, .beta2 = 0.9f}, adamw{.beta2 = close_to_one, .eps = 1e-30f},
      adamw{.lr = 0}, adam{}, schedule_free_adamw{}, schedule_free_adamw{.lr = 1, .warmup = 100, .r = 2});
}

TEST_CASE(
    "largest: with a decay inside the square, and between anchors that differ, for anchors that are no "
    "larger") {
  auto const check = [](auto const& o) {
    CAPTURE(field_text(o));
    CHECK(o.largest() > 0);
    CHECK(finite_for_ever(o, o.largest(), std::min(half_of_all, o.largest())));
  };
  check(adam{.weight_decay = 0.1f});
  check(adam{.weight_decay = 2});
  check(schedule_free_adamw{.weight_decay = 0.1f});
  check(sgd{.lr = 1, .momentum = 0.9f, .weight_decay = 0.5f});
  check(plain_sgd{.lr = 1, .weight_decay = 3});
  check(noloco{});
  check(noloco{.lr = 1, .momentum = 0.9f, .consensus = 3.5f});
  check(noloco{.lr = 0, .consensus = 0});
}

TEST_CASE(
    "largest: no float of gradients in 1e8 rounds overflows a sum of squares, which stands still before") {
  fedadagrad const o{};
  float p = 0, m = 0, v = 0, before = -1;
  auto const step = o.at({1, 1.0f});
  long rounds = 0;
  for (; v != before && rounds < 100000000; ++rounds) {
    before = v;
    step(p, o.largest(), m, v);
  }
  CHECK(v == before);
  CHECK(v <= 0x1p127f);
  CHECK(rounds > 10000000);
}

TEST_CASE("largest: is not much less than what breaks") {
  CHECK(breaks_at(nesterov{}, 1.1f));
  CHECK(breaks_at(nesterov{.lr = 1, .momentum = 0.5f}, 1.1f));
  CHECK(breaks_at(heavy_ball{}, 1.1f));
  CHECK(breaks_at(heavy_ball{.lr = 4}, 1.1f));
  CHECK(breaks_at(slowmo{.momentum = 0.9f, .inner_lr = 1e-3f}, 1.1f));
  CHECK(breaks_at(bmuf{}, 1.1f));
  CHECK(breaks_at(bmuf{.nesterov = true}, 1.1f));
  CHECK(breaks_at(delayed_nesterov{.lr = 1}, 1.3f));
  CHECK(breaks_at(plain_sgd{.lr = 1}, 1.1f));
  CHECK(breaks_at(sgd{.lr = 1, .momentum = 0.9f}, 1.1f));
  CHECK(breaks_at(lookahead{.alpha = 1}, 1.1f));
  CHECK(breaks_at(fedadam{}, 2.1f));
  CHECK(breaks_at(fedyogi{}, 2.1f));
  CHECK(breaks_at(adamw{}, 2.1f));
  CHECK(breaks_at(schedule_free_adamw{}, 2.1f));
}

TEST_CASE("largest: is what a setting leaves") {
  CHECK(nesterov{}.largest() == doctest::Approx(0.1 * unbounded / 1.4));
  CHECK(nesterov{.lr = 0.25f, .momentum = 0}.largest() == static_cast<float>(unbounded));
  CHECK(plain_sgd{.lr = 1}.largest() == half_of_all);
  CHECK(slowmo{.inner_lr = 1e-3f}.largest() == doctest::Approx(5e-4 * unbounded));
  CHECK(fedadam{}.largest() == 0x1p63f);
  CHECK(fedadagrad{}.largest() == 0x1p51f);
  CHECK(sign_sgd{}.largest() == static_cast<float>(unbounded));
  CHECK(adamw{}.largest() == 0x1p63f);
  CHECK(adamw8bit<>{}.largest() == 0x1p63f);
  static_assert(lookahead{}.largest() == static_cast<float>(unbounded));
}

TEST_CASE("largest: of inner optimizers that square a gradient") {
  CHECK(finite_for_ever(ivon{}, ivon{}.largest(), 1.0f));
  CHECK(
      finite_for_ever(ivon{.ess = 1e6f, .beta2 = 0.99f}, ivon{.ess = 1e6f, .beta2 = 0.99f}.largest(), 1.0f));
  CHECK(finite_for_ever(ivon{.ess = 1e-20f, .beta2 = 0.5f}, ivon{.ess = 1e-20f, .beta2 = 0.5f}.largest(),
                        1.0f));
  auto const tensor_bears = [](auto const& o, std::size_t rows, std::size_t columns, int steps) {
    support::whole_tensor<std::remove_cvref_t<decltype(o)>> t(rows, columns,
                                                              std::vector<float>(rows * columns, 0.5f));
    for (int pattern = 0; pattern < 7; ++pattern) {
      for (int s = 0; s < steps; ++s) {
        std::vector<float> g(rows * columns);
        for (std::size_t i = 0; i < g.size(); ++i)
          g[i] = o.largest() * share_of(pattern, s + 1) * (pattern > 2 && i % 3 == 1 ? -1.0f : 1.0f);
        t.step(o, g);
      }
    }
    auto const all_finite = [](std::vector<float> const& x) {
      return std::all_of(x.begin(), x.end(), [](float y) { return std::isfinite(y); });
    };
    bool fine = all_finite(t.p);
    for (auto const& slot : t.slots) fine = fine && all_finite(slot);
    return fine;
  };
  CHECK(tensor_bears(adafactor{}, 20, 30, 300));
  CHECK(tensor_bears(adafactor{}, 40, 1, 300));
  CHECK(tensor_bears(adamw8bit<0>{}, 10, 60, 300));
#if DILOCO_HAS_EIGEN
  CHECK(tensor_bears(muon<eigen>{}, 8, 6, 100));
  CHECK(tensor_bears(muon<eigen>{.average = muon_average::sum}, 8, 6, 100));
  CHECK(tensor_bears(soap<eigen>{}, 8, 6, 100));
#endif
}
