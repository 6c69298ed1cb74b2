// SPDX-License-Identifier: Apache-2.0
// One NaN or Inf in one gradient, with gradient checks off. Every inner optimizer must make the parameter
// non-finite, so that the next round refuses it. Signs, maxima and clamps of NaN must not give finite
// numbers.
#define DILOCO_CHECKS 0
#include "support/one_of.hpp"
#include "support/whole_tensor.hpp"

#include <doctest/doctest.h>

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>
#endif

#include <algorithm>
#include <cmath>
#include <limits>

namespace {

using namespace diloco;

constexpr float bad_numbers[] = {std::numeric_limits<float>::quiet_NaN(),
                                 std::numeric_limits<float>::infinity(),
                                 -std::numeric_limits<float>::infinity()};

/// Whether p is finite after a bad gradient in step `at` of `at` + 2.
template <class O>
bool element_survives(O const& o, float bad, std::uint64_t at) {
  float p = 0.5f, slots[2] = {};
  for (std::uint64_t t = 1; t <= at + 2; ++t) {
    float const g = t == at ? bad : 0.25f;
    auto const step = o.at({t, 1.0f});
    if constexpr (sampling_optimizer<O>)
      step(p, g, p + 0.125f, slots[0], slots[1]);
    else if constexpr (slot_count<O> == 0)
      step(p, g);
    else if constexpr (slot_count<O> == 1)
      step(p, g, slots[0]);
    else
      step(p, g, slots[0], slots[1]);
  }
  return std::isfinite(p);
}

template <class... O>
void no_element_survives(O const&... all) {
  auto const check = [](auto const& o) {
    CAPTURE(o.name);
    for (float bad : bad_numbers)
      for (std::uint64_t at : {1u, 2u, 12u}) CHECK_FALSE(element_survives(o, bad, at));
  };
  (check(all), ...);
}

/// Number of finite elements in a tensor, two steps after a bad gradient in its element 3.
template <class O>
std::ptrdiff_t survivors(O const& o, std::size_t rows, std::size_t columns, float bad, std::uint64_t at) {
  std::size_t const n = rows * columns;
  support::whole_tensor<O> t(rows, columns, std::vector<float>(n, 0.5f));
  for (std::uint64_t s = 1; s <= at + 2; ++s) {
    std::vector<float> g(n);
    for (std::size_t i = 0; i < n; ++i) g[i] = 0.01f * static_cast<float>((i * 7 + s * 3) % 11) - 0.04f;
    if (s == at) g[3] = bad;
    t.step(o, g);
  }
  if (std::isfinite(t.p[3])) return static_cast<std::ptrdiff_t>(n) + 1;
  return std::count_if(t.p.begin(), t.p.end(), [](float x) { return std::isfinite(x); });
}

}  // namespace

TEST_CASE(
    "case: a gradient that is not finite makes the parameter not finite under every element optimizer") {
  no_element_survives(adamw{}, adam{}, schedule_free_adamw{}, lion{}, signum{}, plain_sgd{},
                      sgd{.momentum = 0.9f}, sgd{.momentum = 0.9f, .nesterov = true}, nesterov{},
                      heavy_ball{}, delayed_nesterov{}, slowmo{}, bmuf{}, bmuf{.nesterov = true}, lookahead{},
                      sign_sgd{}, fedadam{}, fedyogi{}, fedadagrad{}, ivon{}, ivon{.clip_radius = 0.1f});
}

TEST_CASE("case: and under those over whole tensors") {
  struct shape {
    std::size_t rows, columns;
  };
  for (float bad : bad_numbers) {
    for (std::uint64_t at : {1u, 3u, 11u}) {
      for (shape s : {shape{8, 6}, shape{5, 5}, shape{3, 40}}) {
        CAPTURE(bad);
        CAPTURE(at);
        CAPTURE(s.rows);
        // Each element's step depends on the whole tensor, at least through the clipped norm.
        CHECK(survivors(adafactor{}, s.rows, s.columns, bad, at) == 0);
        CHECK(survivors(adamw8bit<0>{}, s.rows, s.columns, bad, at) == 0);
        CHECK(survivors(adamw8bit<>{}, s.rows, s.columns, bad, at) ==
              static_cast<std::ptrdiff_t>(s.rows * s.columns) - 1);
#if DILOCO_HAS_EIGEN
        for (auto which : {muon_coefficients::keller, muon_coefficients::dion})
          CHECK(survivors(muon<eigen>{.coefficients = which}, s.rows, s.columns, bad, at) == 0);
        CHECK(survivors(soap<eigen>{.frequency = 2}, s.rows, s.columns, bad, at) == 0);
#endif
      }
      CHECK(survivors(adafactor{}, 40, 1, bad, at) == 0);
#if DILOCO_HAS_EIGEN
      CHECK(survivors(soap<eigen>{}, 40, 1, bad, at) < 40);
#endif
    }
  }
}

TEST_CASE("case: the round after it is refused on all workers, clipped or not") {
  using inner = support::one_of<lion, signum, sign_sgd, adamw, fedyogi, schedule_free_adamw>;
  for (inner const& o : {inner{lion{.lr = 0.01f}}, inner{signum{}}, inner{sign_sgd{}}, inner{adamw{}},
                         inner{fedyogi{.lr = 0.01f}}, inner{schedule_free_adamw{}}}) {
    for (float clip : {no_clipping, 1.0f}) {
      CAPTURE(o.is.index());
      CAPTURE(clip);
      run_threads(2, [&](threads transport) {
        int const rank = transport.rank();
        std::vector<float> x(300), g(300, 1.0f);
        DiLoCo trainer(recipe<>{}
                           .with_inner(o)
                           .with_outer(plain_sgd{.lr = 1.0f})
                           .with_clip_norm(clip)
                           .with_transport(std::move(transport))
                           .with_schedule(every(5)),
                       std::vector<tensor>{{"x", {300}, x.data()}});
        std::vector<std::span<float const>> const gradients{g};
        for (int step = 1; step <= 9; ++step) {
          g[5] = rank == 0 && step == 7 ? bad_numbers[0] : 1.0f;
          trainer.step(gradients);
        }
        if (rank == 0 && clip != no_clipping)
          CHECK(std::isnan(x[200]));  // a NaN makes the norm of the whole gradient NaN
        auto const done = trainer.try_step(gradients);
        REQUIRE_FALSE(done);
        CHECK(done.error().what == cause::not_finite);
        CHECK(done.error().message.find("rank 0: the pseudo-gradient of 'x' is not finite") !=
              std::string::npos);
      });
    }
  }
}
