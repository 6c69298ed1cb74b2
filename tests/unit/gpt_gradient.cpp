// SPDX-License-Identifier: Apache-2.0
// Compares the example's hand-written backward pass with finite differences, tensor by tensor.
#include "model.hpp"
#include "random.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace {

using gpt::model;
using gpt::model_shape;
using gpt::parameter;

// 40 positions: more than one group of attention_rows and a remainder. A head has width 4, so no vector
// register fits a row.
constexpr model_shape shape{.context = 40, .layers = 2, .heads = 2, .width = 8};
constexpr int batch = 2;

std::vector<std::uint8_t> random_bytes(std::size_t n, int key) {
  gpt::random_stream random(7, key);
  std::vector<std::uint8_t> all(n);
  for (auto& b : all) b = static_cast<std::uint8_t>(random.bits());
  return all;
}

// Uses weights far from their small initial values, so that every path has a significant gradient.
template <class Real>
void disturb(model<Real>& m) {
  gpt::random_stream random(11);
  m.parameters().for_each([&](parameter<Real>& p) {
    for (Real& x : p.value) x += static_cast<Real>(0.2 * random.normal());
  });
}

struct problem {
  std::vector<std::uint8_t> tokens = random_bytes(batch * shape.context, 1),
                            targets = random_bytes(tokens.size(), 2);

  template <class Real>
  double loss(model<Real>& m) const {
    return m.forward(tokens, targets, shape.context);
  }
  template <class Real>
  void differentiate(model<Real>& m, double weight) const {
    m.forward(tokens, targets, shape.context);
    m.backward(tokens, targets, shape.context, static_cast<Real>(weight));
  }
};

}  // namespace

TEST_CASE("every parameter tensor's gradient is the central difference of the loss") {
  problem const p;
  model<double> m(shape, batch, 3);
  disturb(m);
  m.clear_gradients();
  p.differentiate(m, 1.0);
  int tensors = 0;
  gpt::random_stream pick(5);
  m.parameters().for_each([&](parameter<double>& tensor) {
    CAPTURE(tensor.name);
    ++tensors;
    double largest = 0;
    for (double g : tensor.gradient) largest = std::max(largest, std::abs(g));
    CHECK(largest > 0);
    for (int i = 0; i < 12; ++i) {
      std::size_t const at = pick.below(tensor.value.size());
      double const here = tensor.value[at], h = 1e-5;
      tensor.value[at] = here + h;
      double const above = p.loss(m);
      tensor.value[at] = here - h;
      double const below = p.loss(m);
      tensor.value[at] = here;
      // A loss of 600 nats keeps 13 decimals, which is 1e-8 after the division by 2h. The error from h itself
      // is of order h².
      // The bound is ten times both, relative to the tensor's largest gradient.
      CHECK(std::abs((above - below) / (2 * h) - tensor.gradient[at]) < 1e-7 * (1 + largest));
    }
  });
  CHECK(tensors == 4 + 12 * shape.layers);
}

TEST_CASE("float follows double") {
  problem const p;
  model<double> exact(shape, batch, 3);
  model<float> fast(shape, batch, 3);
  disturb(exact);
  disturb(fast);
  exact.clear_gradients();
  fast.clear_gradients();
  p.differentiate(exact, 1.0 / 80);
  p.differentiate(fast, 1.0 / 80);
  CHECK(p.loss(fast) == doctest::Approx(p.loss(exact)).epsilon(1e-5));
  std::vector<parameter<double>*> reference;
  exact.parameters().for_each([&](parameter<double>& t) { reference.push_back(&t); });
  std::size_t i = 0;
  fast.parameters().for_each([&](parameter<float>& t) {
    CAPTURE(t.name);
    auto const& r = *reference[i++];
    double error = 0, size = 0;
    for (std::size_t k = 0; k < t.gradient.size(); ++k) {
      error += std::pow(static_cast<double>(t.gradient[k]) - r.gradient[k], 2);
      size += std::pow(r.gradient[k], 2);
    }
    CHECK(std::sqrt(error / size) < 1e-4);  // about a hundred roundings of 6e-8 in a row
  });
}

TEST_CASE("gradients add up over batches, and clearing starts anew") {
  problem const p;
  model<double> once(shape, batch, 3), twice(shape, batch, 3);
  once.clear_gradients();
  p.differentiate(once, 2.0);
  twice.clear_gradients();
  p.differentiate(twice, 1.0);
  p.differentiate(twice, 1.0);
  std::vector<double> sums;
  once.parameters().for_each(
      [&](parameter<double>& t) { sums.push_back(t.gradient[t.gradient.size() / 2]); });
  std::size_t i = 0;
  twice.parameters().for_each([&](parameter<double>& t) {
    CHECK(t.gradient[t.gradient.size() / 2] == doctest::Approx(sums[i++]).epsilon(1e-9));
  });
}

TEST_CASE("no position sees a later byte: one pass over all of them is one prediction per prefix") {
  problem const p;
  model<double> m(shape, batch, 3);
  disturb(m);
  std::span<std::uint8_t const> const tokens = std::span(p.tokens).first(shape.context);
  std::span<std::uint8_t const> const targets = std::span(p.targets).first(shape.context);
  double const one_pass = m.forward(tokens, targets, shape.context);
  double one_by_one = 0;
  for (std::size_t n = 1; n <= tokens.size(); ++n)
    one_by_one -= std::log(m.predict(tokens.first(n))[targets[n - 1]]);
  CHECK(one_pass == doctest::Approx(one_by_one).epsilon(1e-12));
}

TEST_CASE("the same seed gives the same bits at any address") {
  problem const p;
  double losses[3];
  std::vector<std::vector<char>> shift_the_heap;
  for (double& loss : losses) {
    shift_the_heap.emplace_back(24);
    model<float> m(shape, batch, 9);
    p.differentiate(m, 1.0);
    loss = p.loss(m);
  }
  CHECK(losses[0] == losses[1]);
  CHECK(losses[0] == losses[2]);
}
