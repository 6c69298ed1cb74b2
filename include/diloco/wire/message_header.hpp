// SPDX-License-Identifier: Apache-2.0
#pragma once

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

/// What precedes the payload in every message. Weight and verdict travel with the contribution, so all ranks
/// divide by the same sum and all of them drop a round that one of them cannot take part in.
struct message_header {
  static constexpr std::uint32_t expected_magic = 0x4F4C4944;  // "DILO"
  static constexpr std::uint16_t expected_version = 4;
  static constexpr std::uint32_t no_row = 0xffffffffu;
  static constexpr std::uint64_t no_round = ~std::uint64_t{0};
  static constexpr std::uint32_t anchor_flag =
      0x80000000u;                                 ///< in bad_row: it is the row's anchor that is too large
  static constexpr std::uint32_t by_schedule = 1;  ///< in flags: the schedule launched the round, no hand
  static constexpr std::uint32_t stood_still = 2;  ///< in flags: steps were counted, and θ is the anchor

  static constexpr int modes_shift = 8;  ///< in flags: above it, how the launching thread rounds and flushes

  std::uint32_t magic = expected_magic;
  std::uint16_t version = expected_version;
  std::uint16_t phase = 0;
  std::uint64_t round = 0;
  double weight = 0;
  std::uint64_t payload_bytes = 0;
  std::uint32_t bad_row = no_row;  ///< first row with a value that cannot be sent
  std::uint32_t rank = 0;
  std::uint32_t refused = 0;  ///< 1 + cause: this rank cannot commit the round, so nobody does
  std::uint32_t flags = 0;
  std::uint64_t steps = 0;              ///< that the inner state has seen
  std::uint64_t counted_steps = 0;      ///< at the launch, skipped ones included
  std::uint64_t run = 0;                ///< drawn at construction, the same on all ranks
  std::uint32_t epoch = 0;              ///< of the membership; 0, as nobody joins or leaves yet
  std::uint32_t part = 0;               ///< of the parameters; 0, as a round carries all of them yet
  std::uint64_t last_round = no_round;  ///< committed
  std::uint64_t history = 0;            ///< hash of all committed rounds: whose messages, with what checksums
  std::uint64_t checksum = 0;  ///< of this header with 0 here, and of all bytes that follow in the message
  std::uint64_t unused[3] = {};
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

/// Words of a header: the first word behind it has this position in the checksum.
inline constexpr std::uint32_t header_words = sizeof(message_header) / sizeof(std::uint32_t);

/// A vote is its header twice: nobody votes on whether the votes were read, so a flipped bit of one copy must
/// not make its reader the only one that drops the round.
inline constexpr std::size_t vote_copies = 2;
inline constexpr std::size_t vote_bytes = vote_copies * sizeof(message_header);

/// Checksums are summed over this many bytes behind a header at a time.
inline constexpr std::size_t checksum_part_bytes = 16384;
[[nodiscard]] constexpr std::size_t checksum_parts_of(std::size_t message_bytes) {
  return (message_bytes - sizeof(message_header) + checksum_part_bytes - 1) / checksum_part_bytes;
}

/// Of a whole message, from the sums over what follows its header.
DILOCO_HD inline std::uint64_t message_checksum(message_header h, struct checksum behind) {
  h.checksum = 0;
  std::uint32_t words[header_words];
  std::memcpy(words, &h, sizeof h);
  for (std::uint32_t i = 0; i < header_words; ++i) behind.add(words[i], i);
  return behind.value();
}

/// Whether bits changed on the way. `found`: message_checksum of what arrived. Another program, or another
/// version of the library, is no change of bits: header_error names it.
inline bool was_altered(message_header const& got, std::uint64_t found) {
  bool const ours =
      got.magic == message_header::expected_magic || got.version == message_header::expected_version;
  return ours && found != got.checksum;
}

namespace detail {
DILOCO_COLD inline std::string round_name(std::uint64_t round) {
  return round == message_header::no_round ? std::string("no round") : say({"round ", round});
}
}  // namespace detail

/// Compares a received message header with what this rank computed by itself; empty where it fits.
DILOCO_COLD inline std::string header_error(message_header const& got, message_header const& expected,
                                            int from) {
  std::string const who = say({"rank ", from});
  if (got.magic != message_header::expected_magic || got.version != expected.version)
    return say({who, " sent no diloco message header"});
  if (got.run != expected.run) return say({who, " belongs to another run; give each run its own transport"});
  if (got.round != expected.round || got.phase != expected.phase || got.part != expected.part ||
      got.epoch != expected.epoch) {
    return say({who, " is in round ", got.round, " phase ", got.phase, ", this rank in round ",
                expected.round, " phase ", expected.phase});
  }
  // The contract compared them at construction; a library that is loaded later may change them.
  if ((got.flags ^ expected.flags) >> message_header::modes_shift != 0) {
    auto const modes = [](message_header const& f) {
      std::uint32_t const m = f.flags >> message_header::modes_shift;
      return say({"rounds ", rounding_name(m),
                  (m & flushes_results) != 0 ? ", flushes subnormal results" : "",
                  (m & flushes_operands) != 0 ? ", takes subnormal operands for zero" : "",
                  (m & rounds_fma_twice) != 0 ? ", rounds fmaf twice" : ""});
    };
    return say(
        {who, " ", modes(got), ", this rank ", modes(expected),
         "; something changed the floating-point mode after construction, so set the same on all ranks"});
  }
  // A rank with a round more or fewer than the others meets them in rounds of the same number, and is out of
  // step all the same.
  if (((got.flags ^ expected.flags) & message_header::by_schedule) != 0) {
    auto const how = [](message_header const& f) {
      return (f.flags & message_header::by_schedule) != 0 ? "by its schedule" : "by a call of sync or launch";
    };
    return say({who, " came to this round ", how(got), " after ", got.counted_steps, " steps, this rank ",
                how(expected), " after ", expected.counted_steps, "; all ranks must make the same calls"});
  }
  if ((expected.flags & message_header::by_schedule) != 0 && got.counted_steps != expected.counted_steps) {
    return say({who, " came to this round after ", got.counted_steps, " steps, this rank after ",
                expected.counted_steps,
                "; all ranks must count the same steps (leave one out with skip_step)"});
  }
  if (got.rank != static_cast<std::uint32_t>(from)) return say({who, " signed as rank ", got.rank});
  if (got.payload_bytes != expected.payload_bytes) {
    return say({who, " sent ", got.payload_bytes, " payload bytes, expected ", expected.payload_bytes});
  }
  if (!non_negative.holds(got.weight))
    return say({who, " sent the weight ", got.weight, ", which counts nothing"});
  if (got.refused == 0 && got.last_round != expected.last_round) {
    return say({who, " committed ", detail::round_name(got.last_round), " last, this rank ",
                detail::round_name(expected.last_round), "; save one of them and start all ranks from it"});
  }
  if (got.refused == 0 && got.history != expected.history) {
    return say({who, " committed other messages than this rank up to ", detail::round_name(got.last_round),
                "; save one of them and start all ranks from it"});
  }
  return {};
}

namespace detail {
/// Phases of the exchanges of a round, after 0.
enum round_phase : std::uint16_t { share_phase = 1, anchors_phase, vote_phase };

/// Whether the trainer takes further steps and rounds after a round that was dropped for this.
constexpr bool goes_on_after(cause c) {
  return c == cause::not_finite || c == cause::bad_setting || c == cause::wrong_state ||
         c == cause::corrupted;
}
DILOCO_COLD inline std::string_view reason_text(cause c) {
  switch (c) {
    case cause::not_finite:
      return "one of its values cannot be sent";
    case cause::bad_setting:
      return "the weights cannot be combined";
    case cause::wrong_state:
      return "a rank's tensors did not move";
    case cause::corrupted:
      return "a message arrived there with other bits than it was sent with";
    case cause::disagreement:
      return "a rank is out of step with it";
    case cause::timeout:
      return "a message did not arrive there before the deadline";
    case cause::peer_lost:
      return "it lost a peer";
    default:
      return "its transport or executor failed";
  }
}

/// Errors: bits that changed on the way, a rank that is out of step or of another run, a rank that refuses.
DILOCO_COLD inline result<> check_header(message_header const& got, std::uint64_t checksum,
                                         message_header const& expected, int from, bool pair) {
  auto const fail = [&](cause what, std::string_view text) {
    return error{what, static_cast<int>(expected.rank), static_cast<long>(expected.round),
                 say({"diloco: round ", expected.round, ": ", text})};
  };
  auto const drop = [&](cause what, std::string_view text, std::string_view why) {
    return fail(what, say({text, why, "; the round is dropped on ",
                           pair ? "both ranks of the pair" : "every rank", " and nothing was changed"}));
  };
  if (was_altered(got, checksum)) {
    return drop(cause::corrupted, say({"the message of rank ", from}),
                " arrived with other bits than it was sent with");
  }
  if (std::string const what = header_error(got, expected, from); !what.empty())
    return fail(cause::disagreement, what);
  if (got.refused == 0) return {};
  auto const why = static_cast<cause>(got.refused - 1);
  return drop(goes_on_after(why) ? why : cause::peer_lost,
              say({"rank ", from, " refused the round, because "}), reason_text(why));
}
}  // namespace detail

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
