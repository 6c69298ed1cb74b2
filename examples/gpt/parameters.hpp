// SPDX-License-Identifier: Apache-2.0
// The weights of the model. Every tensor has its own name and memory, as in most frameworks.
#pragma once

#include "matrix.hpp"
#include "shape.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace gpt {

template <class Real>
struct parameter {
  parameter(std::string its_name, std::vector<std::size_t> its_shape)
      : name(std::move(its_name)), shape(std::move(its_shape)) {
    std::size_t size = 1;
    for (std::size_t extent : shape) size *= extent;
    value.assign(size, Real(0));
    gradient.assign(size, Real(0));
  }

  std::string name;
  std::vector<std::size_t> shape;
  array<Real> value, gradient;
};

template <class Real>
struct block_parameters {
  block_parameters(std::string const& prefix, std::size_t c)
      : norm1_gain(prefix + "norm1.gain", {c}),
        norm1_bias(prefix + "norm1.bias", {c}),
        qkv_weight(prefix + "qkv.weight", {3 * c, c}),
        qkv_bias(prefix + "qkv.bias", {3 * c}),
        mix_weight(prefix + "mix.weight", {c, c}),
        mix_bias(prefix + "mix.bias", {c}),
        norm2_gain(prefix + "norm2.gain", {c}),
        norm2_bias(prefix + "norm2.bias", {c}),
        up_weight(prefix + "up.weight", {4 * c, c}),
        up_bias(prefix + "up.bias", {4 * c}),
        down_weight(prefix + "down.weight", {c, 4 * c}),
        down_bias(prefix + "down.bias", {c}) {}

  parameter<Real> norm1_gain, norm1_bias, qkv_weight, qkv_bias, mix_weight, mix_bias;
  parameter<Real> norm2_gain, norm2_bias, up_weight, up_bias, down_weight, down_bias;

  template <class Visit>
  void for_each(Visit&& visit) {
    for (auto* p : {&norm1_gain, &norm1_bias, &qkv_weight, &qkv_bias, &mix_weight, &mix_bias, &norm2_gain,
                    &norm2_bias, &up_weight, &up_bias, &down_weight, &down_bias})
      visit(*p);
  }
};

template <class Real>
struct parameter_set {
  // Weights ~ N(0, 0.02), as in GPT-2. The two that feed the residual stream are divided by sqrt(2 L), so
  // that its variance does not grow with depth. Gains are one, biases zero.
  parameter_set(model_shape const& shape, std::uint64_t seed);

  parameter<Real> token_embedding;     // (V, C), also the output layer
  parameter<Real> position_embedding;  // (T, C)
  std::vector<block_parameters<Real>> blocks;
  parameter<Real> norm_gain, norm_bias;  // (C), before the output layer

  template <class Visit>
  void for_each(Visit&& visit) {
    visit(token_embedding);
    visit(position_embedding);
    for (auto& block : blocks) block.for_each(visit);
    visit(norm_gain);
    visit(norm_bias);
  }
};

}  // namespace gpt
