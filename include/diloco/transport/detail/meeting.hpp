// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/descriptor.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/transport/detail/late.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The greeting of a process: who it is and which meeting it wants. It always has the same number of bytes,
/// and no field is used as a length to read. A checksum tells it from what other programs send.
struct hello {
  static constexpr std::size_t length = 48;
  static constexpr std::uint64_t magic = 0x3148'4f43'4f4c'4944ull;  // "DILOCOH1"
  using packed = std::array<std::byte, length>;

  int rank = 0, size = 0;
  std::uint64_t payload = 0;  // number of shared bytes; compared, never used as a length
  std::uint64_t run = 0;      // hash of the run's name
  std::uint64_t nonce = 0;    // newly drawn by each process (files only)

  [[nodiscard]] packed pack(std::uint64_t kind = magic) const {
    std::array<std::uint64_t, 6> const words{
        kind, static_cast<std::uint64_t>(size) << 32 | static_cast<std::uint32_t>(rank), payload, run, nonce,
        0};
    packed bytes;
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(words[i / 8] >> (8 * (i % 8)));
    put(bytes, 40, sum_of(std::span(bytes).first(40)));
    return bytes;
  }
  /// Returns false if `pack` did not make these bytes.
  [[nodiscard]] bool unpack(std::span<std::byte const, length> bytes, std::uint64_t kind = magic) {
    if (get(bytes, 0) != kind || get(bytes, 40) != sum_of(bytes.first(40))) return false;
    size = static_cast<int>(static_cast<std::uint32_t>(get(bytes, 8) >> 32));
    rank = static_cast<int>(static_cast<std::uint32_t>(get(bytes, 8)));
    payload = get(bytes, 16), run = get(bytes, 24), nonce = get(bytes, 32);
    return true;
  }

  [[nodiscard]] bool is_of_the_world_of(hello const& other) const {
    return run == other.run && size == other.size && payload == other.payload;
  }

  static std::uint64_t get(std::span<std::byte const> bytes, std::size_t at) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(bytes[at + i]) << (8 * i);
    return word;
  }
  static void put(std::span<std::byte> bytes, std::size_t at, std::uint64_t word) {
    for (std::size_t i = 0; i < 8; ++i) bytes[at + i] = static_cast<std::byte>(word >> (8 * i));
  }
  static std::uint64_t sum_of(std::span<std::byte const> bytes) {
    hash64 h;
    h.add({reinterpret_cast<char const*>(bytes.data()), bytes.size()});
    return h.value();
  }
};

/// The missing ranks, as rank 0 reports them to those who wait: their number and at most eight names. It
/// always has the same number of bytes, with a checksum.
struct absence {
  static constexpr std::size_t length = 64, most_named = 8;
  static constexpr std::uint64_t magic = 0x314d'4f43'4f4c'4944ull;  // "DILOCOM1"
  using packed = std::array<std::byte, length>;

  std::size_t count = 0;
  bool came = false;       // whether they came and left
  std::vector<int> ranks;  // the first ones

  void add(int rank) {
    count += 1;
    if (ranks.size() < most_named) ranks.push_back(rank);
  }
  /// "ranks 1 and 3 of a world of 4 did not come".
  [[nodiscard]] std::string text(int world, std::string_view never = " did not come") const {
    return say({names_of(ranks, count), " of a world of ", world, came ? " came and left" : never});
  }
  [[nodiscard]] packed pack() const {
    packed bytes{};
    hello::put(bytes, 0, magic);
    hello::put(bytes, 8, static_cast<std::uint64_t>(count) << 1 | (came ? 1 : 0));
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      for (std::size_t b = 0; b < 4; ++b) bytes[16 + 4 * i + b] = static_cast<std::byte>(ranks[i] >> (8 * b));
    }
    hello::put(bytes, length - 8, hello::sum_of(std::span(bytes).first(length - 8)));
    return bytes;
  }
  /// Returns false if `pack` did not make these bytes.
  [[nodiscard]] bool unpack(std::span<std::byte const, length> bytes) {
    bool const sound = hello::get(bytes, length - 8) == hello::sum_of(bytes.first(length - 8));
    if (!sound || hello::get(bytes, 0) != magic) return false;
    count = static_cast<std::size_t>(hello::get(bytes, 8) >> 1);
    came = (hello::get(bytes, 8) & 1) != 0;
    ranks.clear();
    for (std::size_t i = 0; i < std::min(count, most_named); ++i) {
      ranks.push_back(static_cast<int>(hello::get(bytes, 16 + i / 2 * 8) >> (32 * (i % 2)) & 0xffff'ffffu));
    }
    return true;
  }
};

inline std::uint64_t hash_of_run(std::string_view run) {
  hash64 h;
  h.add(run);
  return h.value();
}

/// Errors: a world without ranks (a world of one must be stated), a rank outside the world, or more than 4096
/// bytes to share.
inline result<> check_place(int rank, int size, std::size_t payload) {
  if (size < 1) {
    return error{cause::bad_setting, rank, 0,
                 say({"diloco: rendezvous: size = ", size,
                      " is no world; say how many ranks meet, and 1 for one that "
                      "is alone"})};
  }
  if (rank < 0 || rank >= size) {
    return error{cause::bad_setting, rank, 0,
                 say({"diloco: rendezvous: there is no rank ", rank, " in a world of ", size})};
  }
  if (payload > 4096) {
    return error{
        cause::bad_setting, rank, 0,
        say({"diloco: rendezvous: ", payload, " bytes are too many to share here; 4096 are the most"})};
  }
  return {};
}

/// Sleeps for `seconds`, but not beyond the deadline.
inline void pause(double seconds, deadline d) {
  std::this_thread::sleep_until(std::min(d, deadline_after(seconds)));
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
