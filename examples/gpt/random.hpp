// SPDX-License-Identifier: Apache-2.0
// Random numbers as a pure function of a key and a counter. Batch 17 of worker 3 is the same in any process
// and in any order. The standard distributions are not used, because their bits differ between standard
// libraries.
#pragma once

#include <cmath>
#include <cstdint>

namespace gpt {

// SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64 bits. Every input bit affects every output bit.
inline std::uint64_t mix_bits(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

class random_stream {
 public:
  template <class... Key>
  explicit random_stream(std::uint64_t seed, Key... key) : state_(mix_bits(seed)) {
    ((state_ = mix_bits(state_ ^ static_cast<std::uint64_t>(key))), ...);
  }

  std::uint64_t bits() { return mix_bits(state_ + counter_++); }
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }  // [0, 1)
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(uniform() * static_cast<double>(n)); }

  double normal() {  // Box-Muller
    double const radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  std::uint64_t state_, counter_ = 0;
};

}  // namespace gpt
