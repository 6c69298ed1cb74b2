// SPDX-License-Identifier: Apache-2.0
// What a receiver gets for known inputs, compared with NumPy and PyTorch. The 16-bit formats are checked over
// all 65,536 patterns.
// A world of one with an outer sgd(1) runs only the codec. With θ̄ = 0 and θ = −x, the round leaves θ̄ =
// −decoded.

#include "fixture.hpp"
#include "support/executors.hpp"
#include "tolerance.hpp"

#include <doctest/doctest.h>
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace {

using golden::fixture;

std::vector<std::string> const inputs{"spread", "zeros", "tiny", "ties8", "ties4", "one"};

/// decode(encode(x)) of each tensor, through a launch and a land.
template <class Compressor>
std::vector<std::vector<float>> through(std::vector<std::vector<float>> const& x) {
  std::vector<std::vector<float>> theta;
  std::vector<diloco::tensor> tensors;
  for (auto const& values : x) theta.emplace_back(values.size(), 0.0f);
  for (std::size_t i = 0; i < x.size(); ++i) {
    tensors.push_back({.name = std::string("x").append(std::to_string(i)),
                       .shape = {x[i].size()},
                       .data = theta[i].data()});
  }
  auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                    .with_inner(diloco::external{})
                                    .with_outer(diloco::plain_sgd{.lr = 1.0f})
                                    .with_compressor(Compressor{})
                                    .with_transport(diloco::alone{})
                                    .with_schedule(diloco::manual{})
                                    .with_executor(support::main_executor{}),
                                tensors);
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t k = 0; k < x[i].size(); ++k) theta[i][k] = -x[i][k];
  }
  trainer.after_step();
  trainer.sync();
  for (auto& values : theta) {
    for (float& v : values) v = 0.0f - v;
  }
  return theta;
}

template <class Compressor>
void check_decoded(std::string const& codec) {
  fixture const f("compressors");
  std::vector<std::vector<float>> x;
  for (auto const& name : inputs) x.push_back(f["input." + name]);
  auto const decoded = through<Compressor>(x);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    CAPTURE(inputs[i]);
    auto const& expected = f[codec + "." + inputs[i]];
    bool const exact = std::find(x[i].begin(), x[i].end(), 0.0f) == x[i].end();
    if (codec == "sign" && !exact) {  // the published code has no zero, and would move an untrained element
      for (std::size_t k = 0; k < x[i].size(); ++k) CHECK((x[i][k] != 0.0f || decoded[i][k] == 0.0f));
      continue;
    }
    CHECK(golden::distance(decoded[i], expected) <= golden::tolerance_of_decoded<Compressor>);
  }
}

template <class Compressor>
float through_one(float x) {
  return through<Compressor>({{x}})[0][0];
}

/// Every finite 16-bit pattern comes back unchanged. Each number halfway to the next pattern goes to the even
/// pattern, a slightly larger one up and a slightly smaller one down. `widen` is an independent decoder.
template <class Compressor, class Widen>
void check_all_patterns(Widen widen) {
  std::vector<float> x, expected;
  auto const expect = [&](float value, std::uint32_t pattern) {
    if (std::fabs(value) > 8e37f)
      return;  // a round limits contributions to magnitudes that the outer optimizer can use
    x.push_back(value);
    expected.push_back(widen(pattern));
  };
  for (std::uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    if (!std::isfinite(widen(pattern))) continue;
    expect(widen(pattern), pattern);
    if (!std::isfinite(widen(pattern + 1)) || (pattern & 0x7fff) == 0x7fff) continue;
    float const here = widen(pattern), next = widen(pattern + 1), half = here + (next - here) / 2;
    expect(half, (pattern & 1) == 0 ? pattern : pattern + 1);
    expect(std::nextafter(half, next), pattern + 1);
    expect(std::nextafter(half, here), pattern);
  }
  auto const decoded = through<Compressor>({x})[0];
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) wrong += decoded[i] == expected[i] ? 0 : 1;
  CHECK(wrong == 0);
  CHECK(x.size() > 4 * 60'000);
}

/// IEEE 754 binary16 by its definition. bfloat16 is the upper half of a binary32.
float widen_half(std::uint32_t pattern) {
  int const exponent = static_cast<int>(pattern >> 10 & 31), fraction = static_cast<int>(pattern & 1023);
  double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 31) magnitude = std::numeric_limits<double>::infinity();
  return static_cast<float>((pattern & 0x8000) != 0 ? -magnitude : magnitude);
}
float widen_bfloat16(std::uint32_t pattern) { return std::bit_cast<float>(pattern << 16); }

}  // namespace

TEST_CASE("golden: absmax decodes to rint(x * (L / amax)) * (1 / L) * amax") {
  check_decoded<diloco::absmax<8, 256>>("absmax8");
  check_decoded<diloco::absmax<4, 256>>("absmax4");
}

TEST_CASE("golden: sign decodes to the block's mean magnitude") { check_decoded<diloco::sign<256>>("sign"); }

TEST_CASE("golden: f16 and bf16 round to nearest even as PyTorch does") {
  check_decoded<diloco::f16>("f16");
  check_decoded<diloco::bf16>("bf16");
}

TEST_CASE("golden: f16 and bf16 over all 65,536 patterns and the halfway points between them") {
  check_all_patterns<diloco::f16>(widen_half);
  check_all_patterns<diloco::bf16>(widen_bfloat16);
}

TEST_CASE("golden: a block of denormals comes back finite, no larger and with no sign flipped") {
  std::vector<float> const x{1e-45f, -1e-42f, 3e-39f, 0.0f, -9e-39f};
  auto const check = [&](std::vector<float> const& decoded) {
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(std::abs(decoded[i]) <= 9e-39f);
      CHECK_FALSE((decoded[i] > 0.0f && x[i] <= 0.0f));
      CHECK_FALSE((decoded[i] < 0.0f && x[i] >= 0.0f));
    }
  };
  check(through<diloco::absmax<8, 256>>({x})[0]);
  check(through<diloco::absmax<4, 256>>({x})[0]);
}
