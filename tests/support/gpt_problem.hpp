// SPDX-License-Identifier: Apache-2.0
// A test for every learner of examples/gpt: the same weights and batches must give the same results.
#pragma once

#include "host_learner.hpp"
#include "random.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace gpt_problem {

using namespace gpt;

// Rows shorter than a warp, as long, and longer. A head of width 4.
inline constexpr model_shape shape{.context = 9, .layers = 2, .heads = 2, .width = 8};
inline constexpr int sequences = 2;

struct problem {
  model<float> start{shape, sequences, 3};
  bytes tokens = random_bytes(1), targets = random_bytes(2);

  problem() {  // far from the small initial weights, so that every path has a significant gradient
    random_stream random(11);
    start.parameters().for_each([&](parameter<float>& p) {
      for (float& x : p.value) x += static_cast<float>(0.2 * random.normal());
    });
  }
  static bytes random_bytes(int key) {
    random_stream random(7, key);
    bytes all(static_cast<std::size_t>(sequences * shape.context));
    for (auto& b : all) b = static_cast<std::uint8_t>(random.bits() % 64);  // some of them appear twice
    return all;
  }
};

struct outcome {
  double training, validation;
  std::vector<std::vector<float>> gradients;
  std::vector<float> prediction;
  friend bool operator==(outcome const&, outcome const&) = default;
};

using copy_function = void (*)(float* to, float const* from, std::size_t n);
inline void copy_on_host(float* to, float const* from, std::size_t n) { std::copy_n(from, n, to); }

inline outcome of(learner& l, problem const& p, copy_function copy = copy_on_host) {
  outcome o{};
  l.clear_gradients();
  l.validate(p.tokens, p.targets);
  l.validate(chunk(p.tokens).first(shape.context),
             chunk(p.targets).first(shape.context));  // the last, shorter batch
  o.validation = l.take_validation_loss();
  for (double weight : {0.25, 0.75}) l.learn(p.tokens, p.targets, weight);  // gradients add up
  o.training = l.take_training_loss();
  for (auto const& g : l.gradients()) copy(o.gradients.emplace_back(g.size()).data(), g.data(), g.size());
  auto const prediction = l.predict(chunk(p.tokens).first(5));
  o.prediction.assign(prediction.begin(), prediction.end());
  return o;
}

// Relative to the norm of the vector.
inline double distance(std::vector<float> const& a, std::vector<float> const& b) {
  REQUIRE(a.size() == b.size());
  double error = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    error += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return std::sqrt(error / size);
}

inline void check_copies_back(learner& l, problem& p) {
  model<float> back(shape, sequences, 4);
  l.copy_to(tensors_of(back));
  auto const returned = tensors_of(back), start = tensors_of(p.start);
  for (std::size_t r = 0; r < start.size(); ++r)
    CHECK(std::equal(start[r].data, start[r].data + start[r].size(), returned[r].data));
}

inline void check_close(outcome const& a, outcome const& b, std::vector<diloco::tensor> const& tensors) {
  CHECK(a.training == doctest::Approx(b.training).epsilon(1e-6));
  CHECK(a.validation == doctest::Approx(b.validation).epsilon(1e-6));
  CHECK(distance(a.prediction, b.prediction) < 1e-5);
  REQUIRE(a.gradients.size() == b.gradients.size());
  for (std::size_t r = 0; r < tensors.size(); ++r) {
    CAPTURE(tensors[r].name);
    CHECK(distance(a.gradients[r], b.gradients[r]) < 1e-5);
  }
}

}  // namespace gpt_problem
