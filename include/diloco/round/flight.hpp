// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/checksum.hpp>
#include <diloco/round/round_table.hpp>
#include <diloco/wire/link.hpp>

#include <memory>
#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

struct land_options {
  /// Weight of θ at landing: θ ← mix·θ + (1−mix)·θ̄. Use it if steps were taken during the flight.
  float mix = 0.0f;
};

/// State of one fragment's round: number, weight, message layout, buffers and lookup table. Allocated at
/// construction; the next round of the fragment uses it again.
struct round_flight {
  /// `of_combined`: the plan of what was combined; null if it is the same.
  round_flight(std::size_t index, transport_link const& over, leg_list const& legs, wire_plan p,
               wire_plan const* of_combined, std::size_t rows);

  std::size_t fragment;
  wire_plan plan;                     // of this rank's own contribution
  std::optional<wire_plan> combined;  // of what was combined, where it differs
  round_table table;
  std::vector<std::unique_ptr<exchange_slot>> messages;  // (legs)
  std::unique_ptr<exchange_slot> vote;                   // null if size() == 1
  buffer sums;                                           // (messages, checksum_parts) partial checksums

  // The round under way.
  bool open = false;         // launched, not yet landed
  bool by_hand = false;      // launched by the caller, not by the schedule
  bool dropped = false;      // the caller destroyed it before landing; the run has ended
  std::uint64_t number = 0;  // index of the round in its fragment
  std::uint64_t order = 0;   // index of the launch in the trainer
  int partner = 0;           // partner rank; own rank if the round has no partner
  std::uint64_t counted_steps = 0, steps_taken = 0;  // at the launch
  double weight = 0;                                 // of this rank's contribution
  float mix = 0;                                     // of the landing
  std::byte* sent = nullptr;                         // this rank's first message: (shards, slot_bytes)
  bool stepped = false;                              // an inner step was taken since the previous launch
  bool early = false;         // an eager outer step counted this rank's message at the launch
  bool counted = false;       // this rank's coefficient is not 0
  std::uint32_t culprit = 0;  // 1 + rank whose message this rank refuses; 0: none
  bool group_counted = true;  // the coefficient of its group is not 0
  double group_weight = 0;    // of the contributions of its group
  double total_weight = 0;    // of all contributions; -1 until their headers are read
  double wait_seconds = 0;    // time in receive()
  // Set in every round: maximum steps_taken of contributors of positive weight. If mix != 0, at least this
  // rank's steps_taken at landing.
  std::uint64_t agreed_steps = 0;
  std::uint64_t history = 0;                                // hash of the fragment's history after this round
  std::vector<std::pair<exchange_slot*, bool>> unfinished;  // after an error; true: peers may read it

  [[nodiscard]] wire_plan const& plan_of(leg const& l) const {
    return l.sends != content::own && combined ? *combined : plan;
  }
  /// Number of partial checksums of a message of `slot_bytes` bytes; 0 if there is only one rank.
  [[nodiscard]] std::size_t checksum_parts(std::size_t slot_bytes) const {
    return vote == nullptr ? 0 : checksum_parts_of(slot_bytes);
  }
  [[nodiscard]] std::size_t message_bytes() const;
  /// Called if the caller destroys an open flight. Closes its exchange without waiting, so peers get an
  /// error at once.
  void drop();
  /// Closes the last exchange of `unfinished`. If its flag is true, first waits for it, at most until
  /// `limit`.
  void finish_one(deadline limit);
};

/// One flight per fragment, for the messages that these legs bring. `combined`: a plan per fragment for
/// what was combined, or none.
std::vector<std::shared_ptr<round_flight>> make_flights(transport_link const& over, leg_list const& legs,
                                                        std::vector<wire_plan> const& plans,
                                                        std::vector<wire_plan> const& combined,
                                                        std::size_t rows);

/// Handle of an open round, from `launch` to `land`. Move-only. Destroying it early ends this trainer's run.
/// Ranks that still wait for its message get an error.
class flight {
 public:
  explicit flight(std::shared_ptr<round_flight> of)
      : flight_(std::move(of)), number_(flight_->number), order_(flight_->order) {}
  flight(flight&& other) noexcept = default;
  flight& operator=(flight&& other) noexcept {
    if (this == &other) return *this;
    drop();
    flight_ = std::move(other.flight_);
    number_ = other.number_;
    order_ = other.order_;
    return *this;
  }
  ~flight() { drop(); }
  [[nodiscard]] std::uint64_t round() const { return number_; }

 private:
  friend class round_machine;
  /// Its round is still under way.
  [[nodiscard]] bool is_open() const { return flight_->open && flight_->order == order_; }
  void drop() {
    if (flight_ != nullptr && is_open()) flight_->drop();
    flight_.reset();
  }
  std::shared_ptr<round_flight> flight_;  // null once it was handed over
  std::uint64_t number_, order_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/round/flight_definitions.hpp>
#endif
