// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>
#include <diloco/wire/message_header.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Partial sums for the checksums of messages. Each covers 16 KiB of the bytes behind a header. Reads every
/// byte of the messages once. Indices: (messages, parts).
struct checksum_kernel {
  std::byte const* slots;            // (messages, slot_bytes), or null if `messages` is set
  std::byte const* const* messages;  // (messages): one pointer per message
  std::size_t slot_bytes;
  std::size_t parts;  // per message
  checksum* sums;     // (messages, parts)

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    std::size_t const m = index / parts, first = sizeof(message_header) + index % parts * checksum_part_bytes;
    std::byte const* const from = slots != nullptr ? slots + m * slot_bytes : messages[m];
    std::size_t const left = slot_bytes - first,
                      bytes = left < checksum_part_bytes ? left : checksum_part_bytes;
    checksum const c =
        checksum_of(l, reinterpret_cast<std::uint32_t const*>(from + first),
                    static_cast<std::uint32_t>(bytes / 4), static_cast<std::uint32_t>(first / 4));
    if (L::rank() == 0) sums[index] = c;
  }
};

/// The sum of `parts` sums. Every lane gets it.
template <lanes L>
DILOCO_HD inline checksum total_of(L, checksum const* sums, std::size_t parts) {
  checksum c;
  for (auto i = static_cast<std::size_t>(L::rank()); i < parts; i += static_cast<std::size_t>(L::width))
    c.add(sums[i]);
  return {L::sum(c.sum), L::sum(c.mixed)};
}

/// Writes a message header before each shard's payload. It adds the first row that cannot be sent, whether θ
/// stood still, and the checksum. Then it resets `bad_row` and `moved`.
/// It runs on the executor, so a launch does not wait for the encoding. One index.
struct write_headers_kernel {
  message_header const* headers;  // (shards)
  std::uint32_t* bad_row;
  std::uint32_t* moved;
  bool must_move;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::size_t shards;
  checksum const* sums;  // (shards, parts)
  std::size_t parts;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    std::uint32_t const bad = *bad_row;
    bool const stands = must_move && *moved == message_header::no_row;
    for (std::size_t s = 0; s < shards; ++s) {
      checksum const behind = total_of(l, sums + s * parts, parts);
      if (L::rank() != 0) continue;
      message_header h = headers[s];
      h.bad_row = bad;
      if (stands) h.flags |= message_header::stood_still;
      h.checksum = message_checksum(h, behind);
      write_header(slots + s * slot_bytes, h);
    }
    L::sync();
    if (L::rank() == 0) *bad_row = *moved = message_header::no_row;
  }
};

/// Copies whole messages one behind the other, in parts of 16 KiB. Slots are a multiple of 16 bytes. Reads
/// and writes each byte once. Indices: (messages, parts).
struct copy_messages_kernel {
  std::byte const* const* messages;
  std::byte* to;  // (messages, slot_bytes)
  std::size_t slot_bytes;

  [[nodiscard]] DILOCO_HD std::size_t parts() const {
    return (slot_bytes + checksum_part_bytes - 1) / checksum_part_bytes;
  }
  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    std::size_t const m = index / parts(), first = index % parts() * checksum_part_bytes;
    std::size_t const left = slot_bytes - first,
                      bytes = left < checksum_part_bytes ? left : checksum_part_bytes;
    std::byte const* const from = messages[m] + first;
    std::byte* const out = to + m * slot_bytes + first;
    if constexpr (L::width == 1) {
      std::memcpy(out, from, bytes);
    } else {
      for (std::size_t i = 16 * static_cast<std::size_t>(L::rank()); i < bytes;
           i += 16 * static_cast<std::size_t>(L::width))
        std::memcpy(__builtin_assume_aligned(out + i, 16), __builtin_assume_aligned(from + i, 16), 16);
    }
  }
};

/// Copies the headers of messages to memory that the host can read, and computes their checksums there.
/// Indices: (messages, copies).
struct collect_headers_kernel {
  std::byte const* const* messages;
  std::size_t copies;    // copies of the header per message; 1 unless the message is a vote
  checksum const* sums;  // (messages, parts)
  std::size_t parts;
  message_header* to;
  std::uint64_t* checksums;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t k) const {
    checksum const behind = total_of(l, sums + k * parts, parts);
    if (L::rank() != 0) return;
    to[k] = read_header(messages[k / copies] + k % copies * sizeof(message_header));
    checksums[k] = message_checksum(to[k], behind);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
