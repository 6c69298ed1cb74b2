// SPDX-License-Identifier: Apache-2.0
// IVON: gradients are taken at samples in the caller's tensors; θ is their mean.
#include "support/thread_lanes.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>
#if DILOCO_HAS_OMP
#include <diloco/executor/omp.hpp>

#include <algorithm>
#endif

using namespace diloco;

namespace {

auto recipe_of(ivon const& o) {
  return recipe<>{}.with_inner(o).with_transport(alone{}).with_schedule(manual{});
}

/// n numbers with gradients a·x of the quadratics ½·a·x², at the values that the tensor holds.
struct bowls {
  std::vector<float> x, slope, curvature;
  std::vector<tensor> parameters;
  explicit bowls(std::size_t n) : x(n), slope(n), curvature(n) {
    for (std::size_t i = 0; i < n; ++i) {
      x[i] = toy::number(1, i);
      curvature[i] = i % 2 == 0 ? 0.5f : 4.0f;
    }
    parameters = {{"x", {n}, x.data()}};
  }
  std::vector<std::span<float const>> gradients() {
    for (std::size_t i = 0; i < x.size(); ++i) slope[i] = curvature[i] * x[i];
    return {slope};
  }
};

}  // namespace

TEST_CASE("ivon: the trajectory is that of the formulas in double, from the samples that were shown") {
  for (bool rescale : {true, false}) {
    ivon const o{.lr = 0.1f,
                 .ess = 100,
                 .beta1 = 0.9f,
                 .beta2 = 0.99f,
                 .weight_decay = 0.01f,
                 .h0 = 0.5f,
                 .clip_radius = 0.05f,
                 .rescale_lr = rescale,
                 .seed = 3};
    bowls b(300);
    DiLoCo trainer(recipe_of(o), b.parameters);
    std::vector<double> theta(300), m(300, 0.0), h(300, 0.5);
    for (std::size_t i = 0; i < 300; ++i) theta[i] = double(trainer.cell("x", "theta")[i]);
    double const d = double(o.weight_decay), b1 = double(o.beta1), b2 = double(o.beta2), ess = 100;
    bool clipped = false;
    for (int t = 1; t <= 100; ++t) {
      auto const gradients = b.gradients();
      for (std::size_t i = 0; i < 300; ++i) {
        double const g = double(b.slope[i]);
        double const f = g * (double(b.x[i]) - double(trainer.cell("x", "theta")[i])) * (h[i] + d) * ess;
        m[i] = b1 * m[i] + (1 - b1) * g;
        h[i] = b2 * h[i] + (1 - b2) * f + 0.5 * (1 - b2) * (1 - b2) * (h[i] - f) * (h[i] - f) / (h[i] + d);
        double const step = (m[i] / (1 - std::pow(b1, t)) + d * theta[i]) / (h[i] + d);
        double const xi = double(o.clip_radius);
        clipped = clipped || std::abs(step) > xi;
        theta[i] -= double(o.lr) * (rescale ? 0.5 + d : 1.0) * std::clamp(step, -xi, xi);
      }
      trainer.step(gradients);
    }
    CHECK(clipped);
    for (std::size_t i = 0; i < 300; ++i) {
      REQUIRE(double(trainer.cell("x", "theta")[i]) == doctest::Approx(theta[i]).epsilon(1e-5));
      REQUIRE(double(trainer.cell("x", "inner.h_minus_h0")[i]) == doctest::Approx(h[i] - 0.5).epsilon(1e-3));
    }
  }
}

TEST_CASE(
    "ivon: what is shown is a sample of the stated deviation, new after every step, and the mean on "
    "request") {
  std::size_t const n = 1 << 16;
  bowls b(n);
  auto const start = b.x;
  DiLoCo trainer(recipe_of({.lr = 0.1f, .ess = 400, .weight_decay = 0, .h0 = 4}), b.parameters);
  CHECK(trainer.footprint().state_bytes == 4 * (n * 5));  // θ̄, θ, the outer momentum, m, h
  auto const theta = trainer.cell("x", "theta");
  auto const statistics = [&](double deviation) {
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double const z = (double(b.x[i]) - double(theta[i])) / deviation;
      mean += z / double(n);
      square += z * z / double(n);
    }
    CHECK(std::abs(mean) < 4.0 / 256);
    CHECK(std::abs(square - 1) < 4 * 1.42 / 256);
  };
  CHECK(std::equal(theta.begin(), theta.end(), start.begin()));
  statistics(1 / std::sqrt(400.0 * 4));
  auto const first = b.x;
  trainer.step(b.gradients());
  statistics(1 / std::sqrt(400.0 * 4));  // h has moved by 1e-5 of its value
  std::size_t same = 0;
  for (std::size_t i = 0; i < n; ++i) same += b.x[i] == first[i];
  CHECK(same < n / 1000);

  auto const sample = b.x;
  trainer.show_mean();
  CHECK(std::equal(theta.begin(), theta.end(), b.x.begin()));
  CHECK(toy::sentence(toy::outcome_of(trainer.try_step(b.gradients()))) ==
        "diloco: step: the tensors show the mean; call show_sample() before the gradients are taken");
  trainer.show_sample();
  CHECK(b.x == sample);
}

TEST_CASE("ivon: h learns the curvature, and θ the minimum") {
  bowls b(2000);
  DiLoCo trainer(recipe_of({.lr = 0.05f, .ess = 1000, .beta2 = 0.998f, .weight_decay = 0, .h0 = 1}),
                 b.parameters);
  for (int t = 0; t < 3000; ++t) trainer.step(b.gradients());
  double mean[2] = {}, worst = 0;
  for (std::size_t i = 0; i < 2000; ++i) {
    mean[i % 2] += (1 + double(trainer.cell("x", "inner.h_minus_h0")[i])) / 1000;
    worst = std::max(worst, std::abs(double(trainer.cell("x", "theta")[i])));
  }
  CHECK(mean[0] == doctest::Approx(0.5).epsilon(0.05));
  CHECK(mean[1] == doctest::Approx(4.0).epsilon(0.05));
  CHECK(worst < 0.05);
}

TEST_CASE(
    "ivon: rounds speak of the mean, every rank draws for itself, and after a round all have new samples") {
  for (pattern which : toy::patterns) {
    struct seen {
      std::vector<float> start, shown, theta;
      std::uint64_t digest;
    };
    auto const all = toy::on_each_rank(3, [&](threads transport) {
      bowls b(5000);
      seen s{b.x, {}, {}, 0};
      DiLoCo trainer(recipe<>{}
                         .with_inner(ivon{.lr = 0, .ess = 50})
                         .with_exchange(toy::chosen{which})
                         .with_transport(std::move(transport))
                         .with_schedule(every(2)),
                     b.parameters);
      auto const early = b.x;
      for (int t = 0; t < 4; ++t) trainer.step(b.gradients());
      auto const theta = trainer.cell("x", "theta");
      s.shown = b.x;
      s.theta.assign(theta.begin(), theta.end());
      s.digest = trainer.digest();
      CHECK(early != b.x);
      return s;
    });
    for (auto const& s : all) {
      CHECK(s.theta == s.start);  // a rate of 0 moves nothing, whatever the noise
      CHECK(s.shown != s.theta);
      CHECK(s.digest == all[0].digest);
    }
    CHECK(all[0].shown != all[1].shown);
  }
}

TEST_CASE("ivon: goes into a group, and bfloat16 tensors show their samples rounded") {
  std::vector<bfloat16> w(600, {bf16_from_float(1.0f)});
  std::vector<float> v(40, 1.0f), g(600, 0.25f), gv(40, 0.25f);
  std::vector<tensor> const parameters{{.name = "w", .shape = {600}, .bf16 = w.data()},
                                       {"v", {40}, v.data()}};
  DiLoCo trainer(
      recipe<>{}
          .with_inner(groups(group{named("w"), ivon{.lr = 0.1f, .ess = 10}}, group{the_rest, adamw{}}))
          .with_transport(alone{})
          .with_schedule(manual{}),
      parameters);
  CHECK(v[0] == 1.0f);
  std::size_t off = 0;
  for (bfloat16 x : w) off += x.bits != bf16_from_float(1.0f);
  CHECK(off > 550);
  trainer.step(std::vector<std::span<float const>>{g, gv});
  CHECK(v[0] < 1.0f);
  CHECK(trainer.cell("w", "theta")[5] != 1.0f);
  trainer.show_mean();
  for (std::size_t i = 0; i < 600; ++i) REQUIRE(w[i].bits == bf16_from_float(trainer.cell("w", "theta")[i]));
  CHECK(v[0] == trainer.cell("v", "theta")[0]);
}

TEST_CASE("ivon: a trainer that is refused leaves the tensors as they were") {
  auto const all = toy::on_each_rank(2, [](threads transport) {
    bowls b(300);
    auto const before = b.x;
    auto r = recipe<>{}
                 .with_inner(ivon{})
                 .with_outer(nesterov{.lr = transport.rank() == 0 ? 0.7f : 0.6f})
                 .with_transport(std::move(transport))
                 .with_schedule(manual{});
    using type = decltype(DiLoCo(std::move(r), b.parameters));
    return !type::make(std::move(r), b.parameters) && b.x == before;
  });
  CHECK(all[0]);
  CHECK(all[1]);
}

TEST_CASE("ivon: a worker that skipped its first steps averages an h of h0") {
  auto const all = toy::on_each_rank(2, [](threads transport) {
    bowls b(300);
    bool const steps = transport.rank() == 0;
    DiLoCo trainer(recipe<>{}
                       .with_inner(ivon{.ess = 100})
                       .with_transport(std::move(transport))
                       .with_schedule(manual{})
                       .with_inner_at_sync(at_sync::average),
                   b.parameters);
    if (steps)
      trainer.step(b.gradients());
    else
      trainer.skip_step(1.0);
    float const before = trainer.cell("x", "inner.h_minus_h0")[7];
    trainer.sync();
    return std::pair{before, trainer.cell("x", "inner.h_minus_h0")[7]};
  });
  CHECK(all[1].first == 0.0f);
  CHECK(all[0].second == doctest::Approx(all[0].first / 2));
  CHECK(all[1].second == all[0].second);
}

TEST_CASE("ivon: samples and steps have one thread's bits over many threads, and over 32 lanes") {
  static_assert(!replicated<ivon>);
  auto const run = [](auto executor) {
    bowls b(9000);
    DiLoCo trainer(recipe_of({.lr = 0.05f, .ess = 200, .seed = 5}).with_executor(executor), b.parameters);
    for (int t = 0; t < 3; ++t) trainer.step(b.gradients());
    auto const h = trainer.cell("x", "inner.h_minus_h0");
    std::vector<float> all(h.begin(), h.end());
    all.insert(all.end(), b.x.begin(), b.x.end());
    return all;
  };
  auto const one = run(cpp{});
  CHECK(one == run(lane_threads{}));
#if DILOCO_HAS_OMP
  CHECK(one == run(omp{}));
#endif
}

TEST_CASE("ivon: the numbers' ranges") {
  CHECK(field_error("inner", ivon{.ess = 0}) == "diloco: inner ivon: ess = 0 must be a number above 0");
  CHECK(field_error("inner", ivon{.h0 = 0}) == "diloco: inner ivon: h0 = 0 must be a number above 0");
  CHECK(field_error("inner", ivon{.beta2 = 1}) == "diloco: inner ivon: beta2 = 1 must be in [0, 1)");
}
