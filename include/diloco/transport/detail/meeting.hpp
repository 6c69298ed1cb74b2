// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/core/text.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A file or a socket that closes itself.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Who meets, and what a process says when it comes: always as many bytes, of which none is a length to read by. A sum
/// tells it from what strangers send.
struct hello {
  static constexpr std::size_t length = 48;
  static constexpr std::uint64_t magic = 0x3148'4f43'4f4c'4944ull;  // "DILOCOH1"
  using packed = std::array<std::byte, length>;

  int rank = 0, size = 0;
  std::uint64_t payload = 0;  // bytes that are shared, compared and never used
  std::uint64_t run = 0;      // a hash of the run's name
  std::uint64_t nonce = 0;    // drawn anew by each process (files only)

  [[nodiscard]] packed pack(std::uint64_t kind = magic) const {
    std::array<std::uint64_t, 6> const words{
        kind, static_cast<std::uint64_t>(size) << 32 | static_cast<std::uint32_t>(rank), payload, run, nonce, 0};
    packed bytes;
    for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<std::byte>(words[i / 8] >> (8 * (i % 8)));
    put(bytes, 40, sum_of(std::span(bytes).first(40)));
    return bytes;
  }
  /// False: this is not what `pack` makes.
  [[nodiscard]] bool unpack(std::span<std::byte const, length> bytes, std::uint64_t kind = magic) {
    if (get(bytes, 0) != kind || get(bytes, 40) != sum_of(bytes.first(40))) return false;
    size = static_cast<int>(static_cast<std::uint32_t>(get(bytes, 8) >> 32));
    rank = static_cast<int>(static_cast<std::uint32_t>(get(bytes, 8)));
    payload = get(bytes, 16), run = get(bytes, 24), nonce = get(bytes, 32);
    return true;
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

inline std::uint64_t hash_of_run(std::string_view run) {
  hash64 h;
  h.add(run);
  return h.value();
}

/// Errors: a world without ranks (one of one must be asked for), a rank outside it, more to share than a greeting.
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
    return error{cause::bad_setting, rank, 0,
                 say({"diloco: rendezvous: ", payload, " bytes are too many to share here; 4096 are the most"})};
  }
  return {};
}

/// "rank 2", "ranks 1, 2 and 5", and no more than eight by name.
inline std::string names_of(std::vector<int> const& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  std::size_t const named = std::min<std::size_t>(ranks.size(), 8);
  for (std::size_t i = 0; i < named; ++i) {
    if (i > 0) text += i + 1 == ranks.size() ? " and " : ", ";
    text += say({ranks[i]});
  }
  if (named < ranks.size()) text += say({" and ", ranks.size() - named, " more"});
  return text;
}

inline bool is_past(deadline d) { return std::chrono::steady_clock::now() >= d; }

/// Until `seconds` from now or the deadline.
inline void pause(double seconds, deadline d) { std::this_thread::sleep_until(std::min(d, deadline_after(seconds))); }

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
