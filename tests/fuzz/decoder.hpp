// SPDX-License-Identifier: Apache-2.0
// What decoders promise for any bytes. A kind of decoder has two functions. One checks an input and ends the
// program with one error message if a promise is broken. The other makes an initial input.
// decoders.cpp lists the kinds.
#pragma once

#define DOCTEST_CONFIG_DISABLE  // only the promises of the laws are needed
#include "laws/codec.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>

namespace fuzz {

using namespace diloco;
using bytes = std::span<std::byte const>;

struct decoder {
  std::string_view name;
  void (*check)(bytes input);
  std::vector<std::byte> (*seed)(bool whole);  // a whole block, or the end of a tensor
};

[[noreturn]] inline void broken(std::string_view name, std::string const& what) {
  std::fprintf(stderr, "%.*s: %s\n", static_cast<int>(name.size()), name.data(), what.c_str());
  std::abort();
}

inline bytes after(bytes input, std::size_t n) { return input.subspan(std::min(n, input.size())); }

/// Bytes on the heap with exactly the alignment and size of a message. AddressSanitizer reports the first
/// access beyond them.
class exact {
 public:
  exact(std::size_t size, std::size_t alignment, std::byte fill)
      : before_(alignment % 16), size_(size), storage_(new std::byte[before_ + size]) {
    std::memset(data(), std::to_integer<int>(fill), size);
  }
  /// A short input is repeated, so that a few bytes already fill a block.
  exact(std::size_t size, std::size_t alignment, bytes input) : exact(size, alignment, std::byte{0}) {
    for (std::size_t i = 0; i < size && !input.empty(); ++i) data()[i] = input[i % input.size()];
  }
  [[nodiscard]] std::byte* data() const { return storage_.get() + before_; }
  friend bool operator==(exact const& a, exact const& b) {
    return a.size_ == b.size_ && std::memcmp(a.data(), b.data(), a.size_) == 0;
  }

 private:
  std::size_t before_, size_;
  std::unique_ptr<std::byte[]> storage_;
};

/// The bytes of one block in a message.
template <class C>
struct wire {
  exact side, code;

  wire(int count, std::byte fill)
      : side(C::side_bytes, 4, fill), code(C::code_bytes(static_cast<std::size_t>(count)), 16, fill) {}
  wire(int count, bytes input)
      : side(C::side_bytes, 4, input),
        code(C::code_bytes(static_cast<std::size_t>(count)), 16, after(input, C::side_bytes)) {}
  friend bool operator==(wire const&, wire const&) = default;
};

inline float magnitude(std::vector<float> const& x) {
  float most = 0;
  for (float v : x) most = std::max(most, std::fabs(v));
  return most;
}

template <class C>
std::vector<float> decode(wire<C> const& w, int count) {
  std::vector<float> y(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
  C{}.decode(solo{}, count, wire_block_view{w.code.data(), w.side.data()}, [&](int i, float v) {
    if (i < 0 || i >= C::block) broken(C::name, say({"element ", i, " was handed over, beyond the block"}));
    if (i < count) y[static_cast<std::size_t>(i)] = v;
  });
  for (int i = 0; i < count; ++i) {
    float const v = y[static_cast<std::size_t>(i)];
    if (!std::isfinite(v))
      broken(C::name, say({"element ", i, " of ", count, " decodes to ", v, " or not at all"}));
  }
  return y;
}

template <class C>
wire<C> encode(std::vector<float> const& x) {
  lane_block<solo, C::block> f{};
  std::copy(x.begin(), x.end(), f.v);
  int const count = static_cast<int>(x.size());
  wire<C> zeros(count, std::byte{0}), ones(count, std::byte{0xff});
  for (wire<C>* w : {&zeros, &ones}) {
    C{}.encode(solo{}, f, block_info{count, magnitude(x)}, wire_block{w->code.data(), w->side.data()});
  }
  if (zeros != ones)
    broken(C::name, say({"of the wire of ", count, " elements some bytes were never written"}));
  return zeros;
}

/// Whether encoding again gives the same bytes. The law covers ordinary blocks.
/// Inputs here may also have a range below the last place of its numbers. Or their largest element rounds up
/// to the next power of two, which is another scale.
template <class C>
inline constexpr bool canonical = laws::promise<C>::canonical;
template <int Bits, int Block>
inline constexpr bool canonical<min_max<Bits, Block>> = false;
template <int Block>
inline constexpr bool canonical<scaled_f16<Block>> = false;

/// Encodes and decodes the decoded values once more. The result must be finite, with the same bytes where
/// that is promised.
/// Two cases are excluded. Blocks too small to be sent: `sign` keeps signs with a scale of 0. Above 2¹²⁶: the
/// reciprocal is subnormal, which costs a root mean square its last places.
template <class C>
void check_again(std::vector<float> const& x) {
  if (magnitude(x) > C::largest) return;
  wire<C> const once = encode<C>(x);
  std::vector<float> const y = decode(once, static_cast<int>(x.size()));
  float const amax = magnitude(y);
  if (!canonical<C> || amax < smallest_block_magnitude || amax > std::min(C::largest, 0x1p126f)) return;
  if (once != encode<C>(y)) broken(C::name, "encoding what was decoded gives other bytes");
}

/// The input as numbers that the compressor must accept. Larger magnitudes are replaced by the largest one.
template <class C>
std::vector<float> numbers_of(bytes input, int count) {
  std::vector<float> x(static_cast<std::size_t>(count));
  exact const raw(4 * x.size(), 16, input);
  std::memcpy(x.data(), raw.data(), 4 * x.size());
  for (float& v : x) v = std::fabs(v) <= C::largest ? v : std::copysign(C::largest, v);
  return x;
}

/// Any block compressor. Two bytes give the number of elements. The rest is read twice: as side information
/// and codes, and as numbers.
template <class C>
struct any_block {
  static void check(bytes input) {
    unsigned word = 0;
    for (std::byte b : input.first(std::min<std::size_t>(2, input.size())))
      word = word << 8 | std::to_integer<unsigned>(b);
    int const count = 1 + static_cast<int>(word % static_cast<unsigned>(C::block));
    bytes const rest = after(input, 2);
    check_again<C>(decode(wire<C>(count, rest), count));
    check_again<C>(decode(encode<C>(numbers_of<C>(rest, count)), count));
  }
  static std::vector<std::byte> seed(bool whole) {
    int const count = whole ? C::block : C::block / 4 + 1;
    auto const w = encode<C>(laws::numbers(23).many(static_cast<std::size_t>(count), 0.01f));
    std::vector<std::byte> input{std::byte(static_cast<unsigned>(count - 1) >> 8), std::byte(count - 1)};
    input.insert(input.end(), w.side.data(), w.side.data() + C::side_bytes);
    input.insert(input.end(), w.code.data(), w.code.data() + C::code_bytes(static_cast<std::size_t>(count)));
    return input;
  }
};

/// The header of every slot. An error is a message about the sender. An accepted header differs from the
/// expected one only in fields that a rank may choose.
struct any_header {
  static constexpr int from = 3;
  static message_header expected() { return {.phase = 1, .round = 7, .payload_bytes = 4096, .rank = from}; }

  static void check(bytes input) {
    exact const slot(sizeof(message_header), 16, input), back(sizeof(message_header), 16, std::byte{0});
    message_header const got = read_header(slot.data());
    write_header(back.data(), got);
    if (back != slot) broken("message header", "writing what was read gives other bytes");

    message_header same = expected();
    same.weight = got.weight;
    same.bad_row = got.bad_row;
    same.flags = got.flags & 0xfeu;  // but not the launch flag and the thread's modes
    same.steps = got.steps;
    same.counted_steps = got.counted_steps;
    same.refused = got.refused;  // was_altered and the agreement check these
    same.checksum = got.checksum;
    std::memcpy(same.unused, got.unused, sizeof same.unused);
    if (got.refused != 0) same.last_round = got.last_round, same.history = got.history;
    bool const fits =
        std::memcmp(&same, &got, sizeof same) == 0 && got.weight >= 0 && got.weight <= unbounded;
    std::string const invalid = header_error(got, expected(), from);
    if (invalid.empty() != fits)
      broken("message header", fits ? "is refused and fits: " + invalid : "is accepted and does not fit");
    if (!fits && !invalid.starts_with("rank 3 ")) broken("message header", "names no sender: " + invalid);
  }
  static std::vector<std::byte> seed(bool whole) {
    message_header f = expected();
    if (!whole) f.round = 8;
    f.weight = 1024;
    std::vector<std::byte> input(sizeof f);
    write_header(input.data(), f);
    return input;
  }
};

}  // namespace fuzz
