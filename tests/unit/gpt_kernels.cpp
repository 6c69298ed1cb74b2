// SPDX-License-Identifier: Apache-2.0
// The example's kernels against its host layers, whose gradients unit.gpt_gradient checks by finite differences: the
// same losses and gradients on one lane and on 32, played by threads.
#include "eigen_products.hpp"
#include "host_learner.hpp"
#include "kernel_learner.hpp"
#include "random.hpp"

#include "support/thread_lanes.hpp"

#include <doctest/doctest.h>

namespace {

using namespace gpt;

// Rows shorter than a warp, as long, and longer; a head of width 4.
constexpr model_shape shape{.context = 9, .layers = 2, .heads = 2, .width = 8};
constexpr int sequences = 2;

struct problem {
  model<float> start{shape, sequences, 3};
  bytes tokens = random_bytes(1), targets = random_bytes(2);

  problem() {  // far from the small initial weights, so that every path carries a gradient worth comparing
    random_stream random(11);
    start.parameters().for_each([&](parameter<float>& p) {
      for (float& x : p.value) x += static_cast<float>(0.2 * random.normal());
    });
  }
  static bytes random_bytes(int key) {
    random_stream random(7, key);
    bytes all(static_cast<std::size_t>(sequences * shape.context));
    for (auto& b : all) b = static_cast<std::uint8_t>(random.bits() % 64);  // some of them twice
    return all;
  }
};

template <class Executor>
struct kernels : kernel_learner<Executor, eigen_products> {
  explicit kernels(problem& p)
      : kernel_learner<Executor, eigen_products>({}, {}, shape, sequences, tensors_of(p.start)) {}
};

struct outcome {
  double training, validation;
  std::vector<std::vector<float>> gradients;
  std::vector<float> prediction;
  friend bool operator==(outcome const&, outcome const&) = default;
};

outcome of(learner& l, problem const& p) {
  outcome o{};
  l.clear_gradients();
  l.validate(p.tokens, p.targets);
  l.validate(chunk(p.tokens).first(shape.context), chunk(p.targets).first(shape.context));  // the last, shorter batch
  o.validation = l.take_validation_loss();
  for (double weight : {0.25, 0.75}) l.learn(p.tokens, p.targets, weight);  // gradients add up
  o.training = l.take_training_loss();
  for (auto const& g : l.gradients()) o.gradients.emplace_back(g.begin(), g.end());
  auto const prediction = l.predict(chunk(p.tokens).first(5));
  o.prediction.assign(prediction.begin(), prediction.end());
  return o;
}

// Relative to the vector's own length.
double distance(std::vector<float> const& a, std::vector<float> const& b) {
  REQUIRE(a.size() == b.size());
  double error = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(error / size);
}

}  // namespace

TEST_CASE("the kernels give the host layers' losses, gradients and predictions") {
  problem p;
  host_learner host(shape, sequences, p.start);
  kernels<diloco::cpp> mine(p);
  outcome const a = of(mine, p), b = of(host, p);
  CHECK(a.training == doctest::Approx(b.training).epsilon(1e-6));
  CHECK(a.validation == doctest::Approx(b.validation).epsilon(1e-6));
  CHECK(distance(a.prediction, b.prediction) < 1e-5);
  REQUIRE(a.gradients.size() == b.gradients.size());
  auto const tensors = host.tensors();
  for (std::size_t r = 0; r < tensors.size(); ++r) {
    CAPTURE(tensors[r].name);
    CHECK(distance(a.gradients[r], b.gradients[r]) < 1e-5);
  }
}

TEST_CASE("32 lanes give one lane's bits") {
  problem p;
  kernels<diloco::cpp> alone(p);
  kernels<lane_threads> together(p);
  CHECK(of(together, p) == of(alone, p));
}

TEST_CASE("weights come back as they went, also after many batches") {
  problem p;
  kernels<diloco::cpp> mine(p);
  for (int i = 0; i < 130; ++i) mine.validate(p.tokens, p.targets);  // twice around the batches on their way
  double const many = mine.take_validation_loss();
  mine.validate(p.tokens, p.targets);
  CHECK(many == doctest::Approx(130 * mine.take_validation_loss()).epsilon(1e-12));
  model<float> back(shape, sequences, 4);
  mine.copy_to(tensors_of(back));
  auto const mended = tensors_of(back), start = tensors_of(p.start);
  for (std::size_t r = 0; r < start.size(); ++r)
    CHECK(std::equal(start[r].data, start[r].data + start[r].size(), mended[r].data));
}
