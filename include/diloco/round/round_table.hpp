// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/memory_source.hpp>
#include <diloco/wire/plan.hpp>

#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What kernels look up about one fragment's round. The host writes `host()`; kernels read the same arrays
/// through `operator->`.
class round_table {
 public:
  struct arrays {
    slice_record* slices;
    std::size_t* shard_columns;  ///< (shards) first element of each, where there are auxiliary planes
    float** auxiliary_from;      ///< (rows, planes) where their elements are read
    float** auxiliary_to;        ///< (rows, planes) where their mean is written
    // From here on what changes with a round.
    std::byte const** messages;   ///< (contributors) of the leg that was received last
    std::byte const** votes;      ///< (contributors) apart, because kernels read the messages after them
    float* coefficients;          ///< (contributors)
    message_header* own_headers;  ///< (shards, or copies of a vote) sent before each payload
    std::uint32_t* bad_row;       ///< first row with a value that cannot be sent
    std::uint32_t* moved;         ///< 0 once some tile's θ differed from its anchor
  };

  /// `contributors`: from how many ranks a message may come.
  round_table(memory_source const& where, wire_plan const& plan, std::size_t rows, int contributors);

  [[nodiscard]] arrays const* operator->() const { return &kernel_; }
  [[nodiscard]] arrays const& host() const { return host_; }
  /// What each rank wrote before its payload, or its vote: (contributors, copies).
  [[nodiscard]] message_header* headers() const { return answers_.as<message_header>(); }
  [[nodiscard]] double* weights() const {
    return reinterpret_cast<double*>(headers() + vote_copies * ranks_);
  }
  /// message_checksum of each.
  [[nodiscard]] std::uint64_t* checksums() const {
    return reinterpret_cast<std::uint64_t*>(weights() + ranks_);
  }
  [[nodiscard]] std::size_t bytes() const { return memory_.bytes() + answers_.size(); }

  /// Enqueues what stays for the whole run.
  void upload(memory_source const& where) const {
    memory_.upload(where, host_.slices, host_.messages);
    memory_.upload(where, host_.bad_row, host_.moved + 1);
  }
  /// Enqueues what changes with a round.
  void upload_round(memory_source const& where) const {
    memory_.upload(where, host_.messages, host_.bad_row);
  }

 private:
  std::size_t ranks_;
  buffer answers_;
  mirrored memory_;
  arrays host_{}, kernel_{};
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/round/round_table_definitions.hpp>
#endif
