// SPDX-License-Identifier: Apache-2.0
// Small floats over all their codes, compared with std::ldexp. Philox, compared with the known answers of its
// authors.
#include <diloco/core/minifloat.hpp>
#include <diloco/core/pack.hpp>
#include <diloco/core/rng.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

namespace {

using namespace diloco;

/// The number of a code by the definition of the format.
template <int Exponent, int Mantissa, int Bias>
double defined(std::uint32_t code) {
  std::uint32_t const m = code & ((1u << Mantissa) - 1u), e = (code >> Mantissa) & ((1u << Exponent) - 1u);
  double const magnitude = e == 0 ? std::ldexp(double(m), 1 - Bias - Mantissa)
                                  : std::ldexp(double(m | (1u << Mantissa)), int(e) - Bias - Mantissa);
  return (code >> (Exponent + Mantissa)) != 0 ? -magnitude : magnitude;
}

template <class Float, int Exponent, int Mantissa, int Bias>
void check_all_codes(double largest) {
  std::uint32_t const half = 1u << (Exponent + Mantissa), top = Float::largest_code;
  CHECK(double(Float::largest) == largest);
  CHECK(defined<Exponent, Mantissa, Bias>(top) == largest);
  for (std::uint32_t code = 0; code < 2 * half; ++code) {
    CHECK(double(Float::widen(code)) == (defined<Exponent, Mantissa, Bias>(code)));
  }
  for (std::uint32_t code = 0; code <= top; ++code) {
    float const here = Float::widen(code);
    CAPTURE(code);
    CHECK(Float::narrow(here) == code);
    // −0 becomes +0; every other number keeps its sign.
    CHECK(Float::narrow(-here) == (code == 0 ? 0u : code | half));
    if (code == top) continue;
    float const next = Float::widen(code + 1), between = here + (next - here) / 2;
    CHECK(Float::narrow(between) == (code % 2 == 0 ? code : code + 1));
    CHECK(Float::narrow(std::nextafter(between, 0.0f)) == code);
    CHECK(Float::narrow(std::nextafter(between, next)) == code + 1);
    CHECK(Float::narrow(-std::nextafter(between, next)) == ((code + 1) | half));
  }
  CHECK(Float::narrow(Float::largest * 1.5f) == top);
  CHECK(Float::narrow(3.4028235e38f) == top);
  CHECK(Float::narrow(-3.4028235e38f) == (top | half));
  CHECK(Float::narrow(1e-45f) == 0u);
}

TEST_CASE("every code of the small floats, every boundary and tie") {
  check_all_codes<float_e4m3, 4, 3, 7>(448);
  check_all_codes<float_e5m2, 5, 2, 15>(57344);
  check_all_codes<float_e2m3, 2, 3, 1>(7.5);
  check_all_codes<float_e3m2, 3, 2, 3>(28);
  check_all_codes<float_e2m1, 2, 1, 1>(6);
}

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  auto const is = [](random_words w, std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
    return w.v[0] == a && w.v[1] == b && w.v[2] == c && w.v[3] == d;
  };
  CHECK(is(philox(0, 0, 0, 0, 0), 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  std::uint32_t const ones = 0xffffffffu;
  CHECK(is(philox(ones, ones, ones, ones, ~0ull), 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  CHECK(is(philox(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0x299f31d0a4093822ull), 0xd16cfe09u,
           0x94fdcceb, 0x5001e420u, 0x24126ea1u));
}

TEST_CASE("what a lane draws does not depend on how many elements it holds") {
  draw const who{5, 2, 1};
  float all[64], part[4];
  draw_centred(all, 128, who, 9);
  for (int first = 0; first < 64; first += 4) {
    draw_centred(part, 128 + static_cast<std::uint64_t>(first), who, 9);
    for (int i = 0; i < 4; ++i) CHECK(part[i] == all[first + i]);
  }
  double sum = 0;
  for (float u : all) {
    CHECK(std::fabs(u) < 0.5f);
    sum += double(u);
  }
  CHECK(std::fabs(sum / 64) < 0.2);
}

template <int Bits>
void check_packing() {
  constexpr int block = 256;
  for (int count : {1, 3, 7, 8, 9, 31, 32, 33, 100, 255, 256}) {
    std::uint8_t q[block];
    for (int i = 0; i < block; ++i) q[i] = static_cast<std::uint8_t>((i * 37 + 11) % (1 << Bits));
    std::size_t const bytes = planes_bytes<Bits>(static_cast<std::size_t>(count));
    alignas(16) std::byte out[block + 8];
    for (std::byte& b : out) b = std::byte{0x5a};
    pack_planes<Bits, block>(solo{}, count, out, q);
    for (std::size_t i = bytes; i < bytes + 8; ++i) CHECK(out[i] == std::byte{0x5a});
    // Bit b of element i is where the layout says: low plane first, element 0 lowest.
    constexpr int low = low_plane<Bits>;
    for (int i = 0; i < count; ++i) {
      for (int b = 0; b < Bits; ++b) {
        std::size_t const plane = b < low ? 0 : packed_bytes<low>(static_cast<std::size_t>(count));
        int const at = b < low ? i * low + b : i * (Bits - low) + b - low;
        int const bit = static_cast<int>(out[plane + static_cast<std::size_t>(at / 8)] >> (at % 8)) & 1;
        REQUIRE(bit == (q[i] >> b & 1));
      }
    }
    std::uint8_t back[block] = {};
    unpack_planes<Bits, block>(solo{}, count, out, back);
    for (int i = 0; i < count; ++i) REQUIRE(back[i] == q[i]);
  }
}

TEST_CASE("codes of 1, 2, 3, 4, 6 and 8 bits lie where the layout says") {
  check_packing<1>();
  check_packing<2>();
  check_packing<3>();
  check_packing<4>();
  check_packing<6>();
  check_packing<8>();
}

/// One of 32 lanes, run one after another. This is enough for code that needs no other lane's values.
struct one_of_32 : solo {
  static constexpr int width = 32;
  static inline int current = 0;
  static int rank() { return current; }
};
static_assert(lanes<one_of_32>);

template <int Bits, int Block>
void check_lanes() {
  for (int count : {Block, Block - 1, Block / 2 + 1, 9, 1}) {
    std::vector<std::uint8_t> q(Block);
    for (int i = 0; i < count; ++i) q[std::size_t(i)] = static_cast<std::uint8_t>((i * 29 + 5) % (1 << Bits));
    alignas(16) std::byte alone[Block] = {}, together[Block] = {};
    pack<Bits, Block>(solo{}, count, alone, [&](int i) { return unsigned(q[std::size_t(i)]); });
    constexpr int n = lane_elements<one_of_32, Block>;
    std::vector<int> heard(Block, -1);
    for (int r = 0; r < 32; ++r) {
      one_of_32::current = r;
      pack<Bits, Block>(one_of_32{}, count, together,
                        [&](int i) { return unsigned(q[std::size_t(r * n + i)]); });
    }
    for (int r = 0; r < 32; ++r) {
      one_of_32::current = r;
      unpack<Bits, Block>(one_of_32{}, count, alone, [&](int i, std::uint32_t top) {
        REQUIRE(i < n);
        heard[std::size_t(r * n + i)] = int(top >> (32 - Bits));
      });
    }
    CAPTURE(count);
    CHECK(std::vector<std::byte>(alone, alone + Block) == std::vector<std::byte>(together, together + Block));
    for (int i = 0; i < count; ++i) REQUIRE(heard[std::size_t(i)] == q[std::size_t(i)]);
  }
}

TEST_CASE("one thread and 32 lanes write and read the same codes, also where Block/32 is no power of two") {
  check_lanes<1, 256>();
  check_lanes<1, 512>();
  check_lanes<2, 128>();
  check_lanes<2, 256>();
  check_lanes<2, 384>();
  check_lanes<4, 64>();
  check_lanes<4, 128>();
  check_lanes<4, 192>();
  check_lanes<4, 256>();
  check_lanes<4, 320>();
  check_lanes<8, 32>();
  check_lanes<8, 96>();
  check_lanes<8, 256>();
}

}  // namespace
