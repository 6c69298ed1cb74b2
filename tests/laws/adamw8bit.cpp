// SPDX-License-Identifier: Apache-2.0
// AdamW with 8-bit moments. It is compared with a reference in double that quantizes in the same way, and
// with AdamW in float32. The result must not depend on lanes, executors or neighbours.
#include "laws/support.hpp"
#include "support/thread_lanes.hpp"
#include "support/toy.hpp"
#include "support/whole_tensor.hpp"

#include <algorithm>
#include <limits>

namespace {

using namespace diloco;
using laws::numbers;
using optimizer_type = adamw8bit<>;
using always = adamw8bit<0>;

static_assert(tensor_optimizer<optimizer_type> && !element_optimizer<optimizer_type> &&
              replicated<optimizer_type>);
static_assert(optimizer_type::memory_elements(64, 1024) * sizeof(float) == 65536 / 256 * (512 + 8));
static_assert(optimizer_type::memory_elements(4095, 1) == 2 * 4095 &&
              optimizer_type::memory_elements(1, 4096) < 4096);

/// The numbers of a dynamic map, constructed by definition, in ascending order.
std::vector<double> map_of(bool with_sign) {
  std::vector<double> all{0.0, 1.0};
  for (int d = 0; d < 7; ++d) {
    int const cells = 1 << (with_sign ? d : d + 1);
    for (int c = 0; c < cells; ++c) {
      all.push_back((0.1 + 0.9 * (c + 0.5) / cells) * std::pow(10.0, d - 6));
      if (with_sign) all.push_back(-all.back());
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// A moment in double, stored as codes and scales.
struct moment {
  std::vector<double> map;
  std::vector<int> codes;
  std::vector<double> scales;
  moment(bool with_sign, std::size_t n) : map(map_of(with_sign)), codes(n, with_sign ? 127 : 0), scales(n) {}
  double read(std::size_t i) const { return map[std::size_t(codes[i])] * scales[i / 256]; }
  void keep(std::vector<double> const& x) {
    for (std::size_t block = 0; block * 256 < x.size(); ++block) {
      std::size_t const end = std::min(x.size(), block * 256 + 256);
      double most = 0;
      for (std::size_t i = block * 256; i < end; ++i) most = std::max(most, std::fabs(x[i]));
      scales[block] = most;
      for (std::size_t i = block * 256; i < end && most > 0; ++i) {
        auto const nearer = [&](double a, double b) {
          return std::fabs(a - x[i] / most) < std::fabs(b - x[i] / most);
        };
        codes[i] = int(std::min_element(map.begin(), map.end(), nearer) - map.begin());
      }
    }
  }
};

/// √(1 + r + … + rⁿ⁻¹), term by term, with r = β₁²/β₂. At most 32.
double m_norm(double b1, double b2, int n) {
  double sum = 0;
  for (int k = 0; k < n; ++k) sum += std::pow(b1 * b1 / b2, k);
  return std::sqrt(std::min(sum, 1024.0));
}

/// PyTorch's AdamW in double. Both moments are stored as above, and v is at least what m implies.
struct reference {
  std::vector<double> p;
  moment m, v;
  explicit reference(std::vector<float> const& start)
      : p(start.begin(), start.end()), m(true, p.size()), v(false, p.size()) {}
  void step(adamw const& o, int t, std::vector<float> const& g) {
    double const b1 = double(o.beta1), b2 = double(o.beta2), lr = double(o.lr);
    std::vector<double> new_m(p.size()), new_v(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) {
      double const grad = double(g[i]);
      new_m[i] = b1 * m.read(i) + (1 - b1) * grad;
      double const least = t == 1 ? 0 : (1 - b2) / std::pow((1 - b1) * m_norm(b1, b2, t - 1), 2);
      new_v[i] = b2 * std::max(v.read(i), least * m.read(i) * m.read(i)) + (1 - b2) * grad * grad;
      p[i] *= 1 - lr * double(o.weight_decay);
      p[i] -= lr * (new_m[i] / (1 - std::pow(b1, t))) /
              (std::sqrt(new_v[i] / (1 - std::pow(b2, t))) + double(o.eps));
    }
    m.keep(new_m);
    v.keep(new_v);
  }
};

/// Code i of a tensor's memory, where the codes of m come first.
int code_in(std::vector<float> const& memory, std::size_t n, bool square, std::size_t i) {
  auto const* codes = reinterpret_cast<unsigned char const*>(memory.data());
  std::size_t const blocks = (n + 255) / 256;
  return square ? codes[blocks * 256 + i] : codes[i] ^ 127;
}

/// Gradients of one step whose magnitudes span three decades within each block.
std::vector<float> spread(std::size_t n, std::uint64_t seed) {
  auto g = numbers(seed).many(n, 1e-2f);
  constexpr float magnitude[] = {1.0f, 0.3f, 0.1f, 0.03f, 0.01f, 0.003f, 0.001f};
  for (std::size_t i = 0; i < n; ++i) g[i] *= magnitude[i % 7];
  return g;
}

template <class Executor, class O = optimizer_type>
support::whole_tensor<O, Executor> after_ten(std::size_t n) {
  support::whole_tensor<O, Executor> t(1, n, numbers(n).many(n));
  t.grad_scale = 0.5f;
  for (std::uint64_t s = 1; s <= 10; ++s) t.step({.lr = 0.01f}, spread(n, s));
  return t;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Fits y = w1·tanh(w2·x) to another network of the same form. Returns the mean loss on fresh batches over
/// the last 50 of 1,000 steps.
template <class O>
double last_loss(O const& o) {
  constexpr std::size_t out = 8, hidden = 32, in = 16, batch = 32;
  auto const teacher1 = numbers(1).many(out * hidden, 0.3f), teacher2 = numbers(2).many(hidden * in, 0.3f);
  support::whole_tensor<O> w1(out, hidden, numbers(3).many(out * hidden, 0.1f)),
      w2(hidden, in, numbers(4).many(hidden * in, 0.1f));
  double sum = 0;
  for (std::uint64_t step = 0; step < 1000; ++step) {
    std::vector<float> const x = numbers(100 + step).many(batch * in);
    std::vector<double> g1(w1.p.size()), g2(w2.p.size()), h(hidden);
    double loss = 0;
    for (std::size_t s = 0; s < batch; ++s) {
      auto const hidden_of = [&](std::vector<float> const& w, std::size_t j) {
        double z = 0;
        for (std::size_t k = 0; k < in; ++k) z += double(w[j * in + k]) * double(x[s * in + k]);
        return std::tanh(z);
      };
      std::vector<double> wanted(hidden), back(hidden);
      for (std::size_t j = 0; j < hidden; ++j) h[j] = hidden_of(w2.p, j), wanted[j] = hidden_of(teacher2, j);
      for (std::size_t i = 0; i < out; ++i) {
        double e = 0;
        for (std::size_t j = 0; j < hidden; ++j)
          e += double(w1.p[i * hidden + j]) * h[j] - double(teacher1[i * hidden + j]) * wanted[j];
        loss += e * e / double(batch);
        for (std::size_t j = 0; j < hidden; ++j) {
          g1[i * hidden + j] += 2 * e * h[j] / double(batch);
          back[j] += 2 * e * double(w1.p[i * hidden + j]) * (1 - h[j] * h[j]) / double(batch);
        }
      }
      for (std::size_t j = 0; j < hidden; ++j)
        for (std::size_t k = 0; k < in; ++k) g2[j * in + k] += back[j] * double(x[s * in + k]);
    }
    if (step >= 950) sum += loss / 50;
    w1.step(o, {g1.begin(), g1.end()});
    w2.step(o, {g2.begin(), g2.end()});
  }
  return sum;
}

auto recipe_of(auto inner) {
  return recipe<>{}.with_inner(std::move(inner)).with_transport(alone{}).with_schedule(every(2));
}

}  // namespace

TEST_CASE("adamw8bit: follows a reference in double that quantizes likewise") {
  std::size_t const n = 4096 + 130;
  auto const start = numbers(3).many(n);
  optimizer_type const o{.lr = 0.01f, .weight_decay = 0.1f};
  support::whole_tensor<optimizer_type> t(1, n, start);
  reference r(start);
  for (int step = 1; step <= 100; ++step) {
    auto const g = spread(n, std::uint64_t(step));
    t.step(o, g);
    r.step(o.in_float32(), step, g);
    if (step != 1 && step != 100) continue;
    double worst = 0;
    std::size_t flips = 0, far = 0, moved = 0;
    for (std::size_t i = 0; i < n; ++i) {
      double const gap = std::fabs(double(t.p[i]) - r.p[i]);
      worst = std::max(worst, gap / std::max(1.0, std::fabs(r.p[i])));
      moved += gap > 1e-5 ? 1 : 0;
      for (bool second : {false, true}) {
        int const apart = std::abs(code_in(t.memory, n, second, i) - (second ? r.v : r.m).codes[i]);
        flips += apart != 0 ? 1 : 0;
        far += apart > 1 ? 1 : 0;
      }
    }
    CAPTURE(step);
    CHECK(far == 0);
    if (step == 1) {
      CHECK(worst <= 2e-7);
      CHECK(flips == 0);
    } else {
      // Half way between two numbers, float and double choose different codes; this affects one code in
      // thousands. Until the codes agree again, the element's steps differ.
      // The difference is a few per cent of the rate in the upper decades and the whole rate in the lowest.
      // Seen: 3e-3, 1, 0.
      CHECK(worst <= 0.01);
      CHECK(moved <= 10);
      CHECK(flips <= 10);
    }
  }
}

TEST_CASE("adamw8bit: bits do not depend on lanes or executors, and are those of the day it was written") {
  for (std::size_t n : {std::size_t{4096}, std::size_t{5003}, std::size_t{70}}) {
    CAPTURE(n);
    auto const expected = after_ten<cpp>(n);
    auto const check = [&](auto const& t) {
      CHECK(same_bits(t.p, expected.p));
      CHECK(same_bits(t.memory, expected.memory));
    };
    check(after_ten<lane_threads>(n));
    laws::on_each_executor([&](auto executor) { check(after_ten<decltype(executor)>(n)); });
  }
  auto const t = after_ten<cpp>(5003);
  CHECK(mix64(laws::digest(t.p), laws::digest(t.memory)) == 8386247396513357920u);
}

TEST_CASE("adamw8bit: small tensors take adamw's trajectory, bit by bit") {
  for (std::size_t n : {std::size_t{1}, std::size_t{70}, std::size_t{4095}}) {
    CAPTURE(n);
    support::whole_tensor<optimizer_type> t(n, 1, numbers(n).many(n));
    std::vector<float> p = t.p, m(n), v(n);
    t.grad_scale = 0.3f;
    t.lr_scale = 0.25f;
    for (std::uint64_t s = 1; s <= 5; ++s) {
      auto const g = spread(n, s);
      t.step({.lr = 0.01f}, g);
      auto const step = adamw{.lr = 0.01f}.at({s, 0.25f});
      for (std::size_t i = 0; i < n; ++i) step(p[i], product(0.3f, g[i]), m[i], v[i]);
    }
    CHECK(same_bits(t.p, p));
    m.insert(m.end(), v.begin(), v.end());
    CHECK(same_bits(t.memory, m));
  }
}

TEST_CASE("adamw8bit: after one step it is adamw, whatever is kept") {
  std::size_t const n = 4500;
  auto const start = numbers(5).many(n), g = spread(n, 1);
  support::whole_tensor<optimizer_type> t(1, n, start);
  t.grad_scale = 0.3f;
  t.step({}, g);
  auto const step = adamw{}.at({1, 1.0f});
  for (std::size_t i = 0; i < n; ++i) {
    float p = start[i], m = 0, v = 0;
    step(p, product(0.3f, g[i]), m, v);
    REQUIRE(t.p[i] == p);
  }
}

TEST_CASE("adamw8bit: zero gradients leave memory zero, and lr_scale = 0 the parameters") {
  std::size_t const n = 4096 + 256;
  auto const start = numbers(1).many(n);
  support::whole_tensor<optimizer_type> t(1, n, start);
  for (int i = 0; i < 3; ++i) t.step({.weight_decay = 0.0f}, std::vector<float>(n, 0.0f));
  CHECK(same_bits(t.p, start));
  CHECK(same_bits(t.memory, std::vector<float>(t.memory.size(), 0.0f)));

  t.lr_scale = 0.0f;
  for (std::uint64_t s = 1; s <= 3; ++s) t.step({}, spread(n, s));
  CHECK(same_bits(t.p, start));
  CHECK_FALSE(same_bits(t.memory, std::vector<float>(t.memory.size(), 0.0f)));
}

TEST_CASE("adamw8bit: blocks do not see each other") {
  std::size_t const n = 4096;
  auto const start = numbers(1).many(n);
  support::whole_tensor<optimizer_type> all(1, n, start), one(1, n, start);
  for (std::uint64_t s = 1; s <= 4; ++s) {
    auto g = spread(n, s), alone = g;
    for (std::size_t i = 0; i < n; ++i) alone[i] = i / 256 == 5 ? g[i] : 1e6f;
    all.step({}, g);
    one.step({}, alone);
  }
  CHECK(std::equal(all.p.begin() + 5 * 256, all.p.begin() + 6 * 256, one.p.begin() + 5 * 256));
  CHECK(all.p[4 * 256] != one.p[4 * 256]);
}

TEST_CASE("adamw8bit: a NaN makes its own block NaN in the next step, and no other") {
  std::size_t const n = 4096 + 10;
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    support::whole_tensor<optimizer_type> t(1, n, numbers(1).many(n)), sound(1, n, t.p);
    auto g = spread(n, 1);
    sound.step({}, g);
    g[700] = bad;
    t.step({}, g);
    CHECK(std::isnan(t.p[700]));
    CHECK(std::equal(t.p.begin() + 701, t.p.end(), sound.p.begin() + 701));
    auto const next = spread(n, 2);
    t.step({}, next);
    sound.step({}, next);
    for (std::size_t i = 0; i < n; ++i) REQUIRE((i / 256 == 2 ? std::isnan(t.p[i]) : t.p[i] == sound.p[i]));
  }
}

TEST_CASE("adamw8bit: moments below the smallest normal float are kept as zero") {
  support::whole_tensor<always> t(1, 256, std::vector<float>(256, 1.0f));
  t.step({.weight_decay = 0.0f}, std::vector<float>(256, 1e-18f));  // m = 1e-19, v = 1e-39
  CHECK(t.memory[128] > 0.999e-19f);
  CHECK(t.memory[128] < 1.001e-19f);
  CHECK(t.memory[128 + 16] == 0.0f);
  t.step({.weight_decay = 0.0f}, std::vector<float>(256, 1e-38f));
  CHECK(std::all_of(t.p.begin(), t.p.end(), [](float p) { return p == 1.0f; }));
}

TEST_CASE("adamw8bit: no step is longer than the longest that AdamW can take in float32") {
  // The gradients of one block: one loud element, and others that follow one pattern each. i is the element
  // and s the step.
  auto const gradient = [](std::size_t i, int s) {
    switch (i % 12) {
      case 0:
        return 1.0f;  // loud
      case 1:
        return s == 0 ? 1e-4f : 0.0f;  // nonzero once
      case 2:
        return 2e-5f;  // quiet, v is 4e-10 of the block's largest
      case 3:
        return s < 60 ? 2e-5f : 0.0f;  // suddenly silent
      case 4:
        return s % 2 == 0 ? 1e-3f : -1e-3f;  // alternating
      case 5:
        return s % 40 == 0 ? 1.0f : 1e-5f;  // spikes
      case 6:
        return 1e-6f * std::pow(0.9f / 0.999f, -float(s));  // makes m²/v largest
      case 7:
        return std::pow(0.8f, float(s));  // fading
      case 8:
        return 1e-12f;  // tiny
      case 9:
        return s < 100 ? 0.0f : 1e-7f;  // late
      case 10:
        return s < 100 ? 1.0f : 1e-7f;  // loud, then quiet
      default:
        return s % 97 == 3 ? 3e-3f : 0.0f;  // rare
    }
  };
  struct betas {
    float first, second;
  };
  for (betas b : {betas{0.9f, 0.999f}, betas{0.9f, 0.95f}, betas{0.95f, 0.99f}, betas{0.0f, 0.999f},
                  betas{0.9f, 0.81f}, betas{0.9f, 0.5f}}) {
    for (float scale : {1.0f, 0x1p-20f, 0x1p40f}) {
      CAPTURE(b.first);
      CAPTURE(b.second);
      CAPTURE(scale);
      always const o{.lr = 1e-3f, .beta1 = b.first, .beta2 = b.second, .eps = 1e-30f, .weight_decay = 0.0f};
      support::whole_tensor<always> t(1, 600, std::vector<float>(600, 0.0f));
      double const b1 = double(b.first), b2 = double(b.second);
      double worst = 0;
      for (int s = 0; s < 300; ++s) {
        std::vector<float> g(600);
        for (std::size_t i = 0; i < 600; ++i) g[i] = scale * gradient(i, s);
        auto const before = t.p;
        t.step(o, g);
        double const terms = 1 + b1 * b1 / b2 * std::pow(m_norm(b1, b2, s), 2);
        double const longest = 1e-3 * (1 - b1) * std::sqrt(terms / (1 - b2)) *
                               std::sqrt(1 - std::pow(b2, s + 1)) / (1 - std::pow(b1, s + 1));
        for (std::size_t i = 0; i < 600; ++i) {
          double const moved =
              std::fabs(double(t.p[i]) - double(before[i])) - 1e-7 * std::fabs(double(before[i]));
          worst = std::max(worst, moved / longest);
        }
      }
      CHECK(worst <= 1.001);
      CHECK(worst > 0.2);
    }
  }
}

TEST_CASE("adamw8bit: a v too small for its block is forgotten, and m says what it was at least") {
  always const o{.lr = 1e-4f, .weight_decay = 0.0f};
  support::whole_tensor<always> t(1, 256, std::vector<float>(256, 0.0f));
  std::vector<float> g(256, 0.1f);
  g[1] = 2e-5f;  // v is 4e-8 of the block's largest
  float before = 0;
  for (int s = 0; s < 5000; ++s) {
    before = t.p[1];
    t.step(o, g);
  }
  CHECK(code_in(t.memory, 256, false, 1) > 127);
  CHECK(code_in(t.memory, 256, true, 1) == 0);
  CHECK(double(before - t.p[1]) / double(o.lr) == doctest::Approx(7.1).epsilon(0.05));
  g[1] = 0.0f;
  before = t.p[1];
  t.step(o, g);
  CHECK(double(before - t.p[1]) / double(o.lr) ==
        doctest::Approx(7.27 * 0.9 / std::sqrt(0.999)).epsilon(0.01));
}

TEST_CASE("adamw8bit: a v moves by itself only upwards, and then by much") {
  always const o{.weight_decay = 0.0f};
  support::whole_tensor<always> t(1, 256, std::vector<float>(256, 0.0f));
  std::vector<float> g(256, 0.02f);
  g[0] = 0.1f;
  auto const settled = [&](float gradient, int steps) {
    for (std::size_t i = 1; i < 256; ++i) g[i] = gradient;
    for (int s = 0; s < steps; ++s) t.step(o, g);
    return code_in(t.memory, 256, true, 1);
  };
  int const at_first = settled(0.05f, 100);  // both start at 0: v/V = 0.25, where half a code is 1.4 % of v
  CHECK(at_first == code_in(t.memory, 256, true, 2));
  CHECK(settled(0.0f, 1000) == at_first);
  CHECK(settled(0.15f, 1) == at_first);  // g² is 13 times v, and half a code is 14 thousandths
  CHECK(settled(0.4f, 1) > at_first);
}

TEST_CASE("adamw8bit: learns a small network as well as adamw does") {
  double const eight = last_loss(always{.lr = 0.01f, .weight_decay = 0.0f});
  double const full = last_loss(adamw8bit<~std::size_t{0}>{.lr = 0.01f, .weight_decay = 0.0f});
  // Both start at 9.95. Seen: 0.107 in float32, 0.075 in 8 bits.
  CHECK(full < 0.2);
  CHECK(eight < 1.1 * full);
  CHECK(eight > 0.5 * full);
}

TEST_CASE("adamw8bit: in a trainer, beside adamw for what is no matrix") {
  std::vector<float> matrix = numbers(1).many(512 * 128), vector = numbers(2).many(1000),
                     g1 = spread(512 * 128, 3), g2 = spread(1000, 4);
  std::vector<tensor> const both{{"w", {512, 128}, matrix.data()}, {"b", {1000}, vector.data()}};
  support::whole_tensor<optimizer_type> expected(512, 128, matrix);
  DiLoCo trainer(recipe_of(groups(group{matrices, optimizer_type{}}, group{the_rest, adamw{}}))
                     .with_outer(plain_sgd{.lr = 1.0f}),
                 both);
  expected.grad_scale = 0.5f;
  trainer.step(std::vector<std::span<float const>>{g1, g2}, {.grad_scale = 0.5f});
  expected.step({}, g1);
  CHECK(matrix == expected.p);
  for (int i = 0; i < 3; ++i) trainer.step(std::vector<std::span<float const>>{g1, g2}, {.grad_scale = 0.5f});
  CHECK(trainer.rounds() == 2);
}

TEST_CASE("adamw8bit: state is 2.03 B/param, and every byte of it is told") {
  std::vector<float> p = numbers(1).many(512 * 128);
  std::vector<tensor> const one{{"w", {512, 128}, p.data()}};
  DiLoCo with(recipe_of(optimizer_type{}), one);
  DiLoCo without(recipe_of(plain_sgd{}), one);
  DiLoCo in_float32(recipe_of(adamw{}), one);
  // Whole-tensor optimizers read this instead of grad_scale; one for all tensors.
  std::size_t const factor = sizeof(gradient_factor);
  CHECK(with.footprint().state_bytes - without.footprint().state_bytes ==
        p.size() * 2 + p.size() / 256 * 8 + factor);
  CHECK(in_float32.footprint().state_bytes - without.footprint().state_bytes == p.size() * 8);
  CHECK(with.describe() ==
        "adamw8bit → nesterov · f32 (32 bit) · gather over alone×1 · every 2 · state 10 B/param · round 36 "
        "B/param");
}

TEST_CASE("adamw8bit: what it cannot step with, it says") {
  CHECK(field_error("inner", optimizer_type{}).empty());
  CHECK(field_error("inner", optimizer_type{.beta2 = 1}) ==
        "diloco: inner adamw8bit: beta2 = 1 must be in [0, 1)");
  CHECK(field_error("inner", optimizer_type{.eps = 0}) ==
        "diloco: inner adamw8bit: eps = 0 must be a number above 0");
  CHECK(fingerprint(optimizer_type{}) != fingerprint(always{}));
  std::vector<float> p(4096, 1.0f), g(4096, 1.0f);
  std::vector<tensor> const one{{"w", {4096}, p.data()}};
  using trainer = decltype(DiLoCo(recipe_of(optimizer_type{}), one));
  CHECK(toy::sentence(toy::outcome_of(trainer::make(recipe_of(optimizer_type{.lr = -1}), one))) ==
        "diloco: inner adamw8bit: lr = -1 must be a number not below 0");
  DiLoCo t(recipe_of(optimizer_type{}), one);
  g[300] = std::numeric_limits<float>::quiet_NaN();
  CHECK(toy::sentence(toy::outcome_of(t.try_step(std::vector<std::span<float const>>{g})))
            .find("gradient of 'w'") != std::string::npos);
  CHECK(std::all_of(p.begin(), p.end(), [](float x) { return x == 1.0f; }));
}
