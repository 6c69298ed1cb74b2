// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/wire/message_header.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

DILOCO_COLD DILOCO_CORE std::string round_name(std::uint64_t round) {
  return round == message_header::no_round ? std::string("no round") : say({"round ", round});
}
}  // namespace detail

DILOCO_COLD DILOCO_CORE std::string header_error(message_header const& got, message_header const& expected,
                                                 int from) {
  std::string const who = say({"rank ", from});
  if (got.magic != message_header::expected_magic || got.version != expected.version)
    return say({who, " sent no diloco message header"});
  if (got.run != expected.run) return say({who, " belongs to another run; give each run its own transport"});
  if (got.round != expected.round || got.phase != expected.phase || got.part != expected.part ||
      got.epoch != expected.epoch) {
    auto const place = [](message_header const& h) {
      return say({exchange_tag{h.round, h.phase, h.part}.text(), " phase ", h.phase});
    };
    return say({who, " is in ", place(got), ", this rank in ", place(expected)});
  }
  // The contract compared the modes at construction, but a library that is loaded later may change them.
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
  // A rank that did one round more or fewer still meets the others in rounds of the same number. Yet it is
  // out of step.
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

DILOCO_COLD DILOCO_CORE std::string_view reason_text(cause c) {
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

DILOCO_COLD DILOCO_CORE result<> check_header(message_header const& got, std::uint64_t checksum,
                                              message_header const& expected, int from, bool pair) {
  auto const fail = [&](cause what, std::string_view text) {
    return error{what, static_cast<int>(expected.rank), static_cast<long>(expected.round),
                 say({"diloco: ", exchange_tag{expected.round, 0, expected.part}.text(), ": ", text})};
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
              got.culprit == 0 || got.culprit == 1 + got.rank
                  ? say({"rank ", from, " refused the round, because "})
                  : say({"rank ", from, " refused the round because of rank ", got.culprit - 1, ": "}),
              reason_text(why));
}
}  // namespace detail

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
