// SPDX-License-Identifier: Apache-2.0
// The checksum of messages: what it detects, and that no split into parts changes it.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/core/checksum.hpp>

#include <algorithm>

using namespace diloco;

namespace {

std::uint32_t word(std::uint64_t i) { return static_cast<std::uint32_t>(mix64(7, i) >> 32); }
std::uint64_t of_two(std::uint32_t a, std::uint32_t at, std::uint32_t b, std::uint32_t bt) {
  checksum c;
  c.add(a, at);
  c.add(b, bt);
  return c.value();
}

}  // namespace

TEST_CASE("checksum: one flipped bit, at any place, always shows") {
  for (std::uint32_t at = 0; at < 3000; ++at) {
    for (int bit = 0; bit < 32; ++bit) {
      checksum a, b;
      a.add(word(at), at);
      b.add(word(at) ^ 1u << bit, at);
      REQUIRE((a.sum != b.sum && a.mixed != b.mixed));
    }
  }
}

TEST_CASE("checksum: the same bit flipped in two words, and two words that changed places") {
  std::uint64_t missed = 0;
  for (std::uint32_t i = 0; i < 200000; ++i) {
    std::uint32_t const p = word(i) % 100000, q = p + 1 + word(i + 1) % 100, x = word(i + 2), y = word(i + 3);
    std::uint32_t const bit = 1u << i % 32;
    missed += of_two(x, p, y, q) == of_two(x ^ bit, p, y ^ bit, q) ? 1 : 0;
    missed += x != y && of_two(x, p, y, q) == of_two(y, p, x, q) ? 1 : 0;
  }
  CHECK(missed == 0);
}

TEST_CASE("checksum: sums by parts are the sum") {
  std::vector<std::uint32_t> words(10007);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = word(i);
  auto const n = static_cast<std::uint32_t>(words.size());
  checksum const whole = checksum_of(solo{}, words.data(), n, 5);
  checksum parts;
  for (std::uint32_t first = 0; first < n; first += 4096)
    parts.add(checksum_of(solo{}, words.data() + first, std::min(4096u, n - first), 5 + first));
  CHECK(parts.value() == whole.value());
  checksum strided;
  for (std::uint32_t lane = 0; lane < 32; ++lane) {
    for (std::uint32_t i = lane; i < n; i += 32) strided.add(words[i], 5 + i);
  }
  CHECK(strided.value() == whole.value());
}
