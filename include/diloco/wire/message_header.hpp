// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/exchange.hpp>
#include <diloco/core/checksum.hpp>
#include <diloco/core/error.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/float_modes.hpp>
#include <diloco/core/text.hpp>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Precedes the payload in every message. Weight and verdict are sent with the contribution. So all ranks
/// divide by the same sum, and all drop a round that one of them cannot take part in.
struct message_header {
  static constexpr std::uint32_t expected_magic = 0x4F4C4944;  // "DILO"
  static constexpr std::uint16_t expected_version = 4;
  static constexpr std::uint32_t no_row = 0xffffffffu;
  static constexpr std::uint64_t no_round = ~std::uint64_t{0};
  static constexpr std::uint32_t anchor_flag = 0x80000000u;  ///< in bad_row: the row's anchor is too large
  static constexpr std::uint32_t by_schedule = 1;  ///< in flags: the schedule launched the round, not a call
  static constexpr std::uint32_t stood_still = 2;  ///< in flags: steps were counted, but θ equals the anchor

  /// in flags: the bits from here hold the launching thread's rounding and flush modes
  static constexpr int modes_shift = 8;

  std::uint32_t magic = expected_magic;
  std::uint16_t version = expected_version;
  std::uint16_t phase = 0;
  std::uint64_t round = 0;
  double weight = 0;
  std::uint64_t payload_bytes = 0;
  std::uint32_t bad_row = no_row;  ///< first row with a value that cannot be sent
  std::uint32_t rank = 0;
  std::uint32_t refused = 0;  ///< 1 + cause: this rank cannot commit the round, so no rank does
  std::uint32_t flags = 0;
  std::uint64_t steps = 0;          ///< steps of the inner state
  std::uint64_t counted_steps = 0;  ///< at the launch, skipped steps included
  std::uint64_t run = 0;            ///< drawn at construction; the same on all ranks
  std::uint32_t epoch = 0;          ///< of the membership; always 0, because ranks cannot join or leave yet
  std::uint32_t part = 0;           ///< index of the fragment that the round carries
  std::uint64_t last_round = no_round;  ///< last committed round
  std::uint64_t history = 0;   ///< hash of all committed rounds: the ranks and checksums of their messages
  std::uint64_t checksum = 0;  ///< of this header with 0 here, and of all bytes that follow in the message
  std::uint32_t culprit = 0;   ///< of a refusal: 1 + the rank that caused it; 0: the sender, or unknown
  std::uint32_t unused[5] = {};
};
static_assert(sizeof(message_header) == 128 && std::is_trivially_copyable_v<message_header>);

DILOCO_HD inline void write_header(std::byte* slot, message_header const& h) {
  std::memcpy(slot, &h, sizeof h);
}

DILOCO_HD inline message_header read_header(std::byte const* slot) {
  message_header h;
  std::memcpy(&h, slot, sizeof h);
  return h;
}

/// Words of a header. In the checksum, the first word after the header has this position.
inline constexpr std::uint32_t header_words = sizeof(message_header) / sizeof(std::uint32_t);

/// A vote is two copies of its header. There is no vote on whether votes were read. So a flipped bit in one
/// copy must not make its reader the only rank that drops the round.
inline constexpr std::size_t vote_copies = 2;
inline constexpr std::size_t vote_bytes = vote_copies * sizeof(message_header);

/// One partial checksum covers this many bytes behind a header.
inline constexpr std::size_t checksum_part_bytes = 16384;
[[nodiscard]] constexpr std::size_t checksum_parts_of(std::size_t message_bytes) {
  return (message_bytes - sizeof(message_header) + checksum_part_bytes - 1) / checksum_part_bytes;
}

/// The checksum of a whole message, from the sums over the bytes behind its header.
DILOCO_HD inline std::uint64_t message_checksum(message_header h, struct checksum behind) {
  h.checksum = 0;
  std::uint32_t words[header_words];
  std::memcpy(words, &h, sizeof h);
  for (std::uint32_t i = 0; i < header_words; ++i) behind.add(words[i], i);
  return behind.value();
}

/// Whether bits changed in transit. `found` is message_checksum of what arrived. A message of another program
/// or library version does not count as altered; header_error names it.
inline bool was_altered(message_header const& got, std::uint64_t found) {
  bool const ours =
      got.magic == message_header::expected_magic || got.version == message_header::expected_version;
  return ours && found != got.checksum;
}

namespace detail {
std::string round_name(std::uint64_t round);
}  // namespace detail

/// Compares a received message header with what this rank expects. Returns an empty string if they match.
std::string header_error(message_header const& got, message_header const& expected, int from);

namespace detail {
/// Phases of the exchanges of a round that follow its legs. A leg's phase is its index.
enum round_phase : std::uint16_t { vote_phase = leg_list::capacity, anchors_phase };

/// Whether the trainer can take further steps and rounds after a round was dropped for this cause.
constexpr bool goes_on_after(cause c) {
  return c == cause::not_finite || c == cause::bad_setting || c == cause::wrong_state ||
         c == cause::corrupted;
}
std::string_view reason_text(cause c);

/// Fails if bits changed in transit, if a rank is out of step or of another run, or if a rank refuses.
result<> check_header(message_header const& got, std::uint64_t checksum, message_header const& expected,
                      int from, bool pair);
}  // namespace detail

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/wire/message_header_definitions.hpp>
#endif
