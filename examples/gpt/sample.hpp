// SPDX-License-Identifier: Apache-2.0
// Text generation. Each byte is drawn from the model's distribution, given the bytes before it.
#pragma once

#include "learner.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace gpt {

// p^(1/temperature), renormalized. Below 1, likely bytes become more likely.
inline std::uint8_t draw_byte(std::span<float const> probabilities, double temperature,
                              random_stream& random) {
  double sum = 0;
  for (float p : probabilities) sum += std::pow(double(p), 1 / temperature);
  double left = random.uniform() * sum;
  std::size_t last = 0;
  for (std::size_t i = 0; i < probabilities.size(); ++i) {
    double const share = std::pow(double(probabilities[i]), 1 / temperature);
    if (share > 0) last = i;
    left -= share;
    if (left < 0) break;
  }
  return static_cast<std::uint8_t>(last);
}

// The prompt and `length` more bytes.
inline std::string generate(learner& model, std::string const& prompt, int length, double temperature,
                            std::uint64_t seed) {
  random_stream random(seed, 0x73616d70);
  bytes text(prompt.begin(), prompt.end());
  for (int i = 0; i < length; ++i) {
    std::size_t const seen = std::min(text.size(), static_cast<std::size_t>(model.shape().context));
    text.push_back(draw_byte(model.predict(std::span(text).last(seen)), temperature, random));
  }
  return {text.begin(), text.end()};
}

// Removes control characters, because a terminal must not obey generated text.
inline std::string printable(std::string text) {
  for (char& c : text)
    if (c != '\n' && c != '\t' && (c < ' ' || c > '~')) c = '?';
  return text;
}

}  // namespace gpt
