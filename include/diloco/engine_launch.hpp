// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>

// Members of DiLoCo that encode and send what this rank says in a round.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_ENGINE
result<> DILOCO_CLASS::take_wires_back() {
  auto const limit = deadline_after(recipe_.deadline_seconds);
  auto const back = [&](std::optional<arrival_type>& from, wires& to) -> result<> {
    if (!from) return {};
    auto w = ask("reclaim", [&] { return std::move(*from).reclaim(limit); });
    from.reset();
    if (!w) return broken_by(std::move(w).error());
    to = std::move(*w);
    return {};
  };
  if (auto fine = back(last_contribution_, wires_.contribution); !fine) return fine;
  if (auto fine = back(last_vote_, wires_.vote); !fine) return fine;
  return back(last_share_, wires_.share);
}

DILOCO_ENGINE
message_header DILOCO_CLASS::own_header(std::uint16_t phase, std::size_t payload, bool scheduled) const {
  message_header f;
  f.phase = phase;
  f.round = rounds_;
  f.weight = weight_;
  f.steps = steps_taken_;
  f.payload_bytes = payload;
  f.rank = static_cast<std::uint32_t>(recipe_.transport.rank());
  f.flags = (scheduled ? message_header::by_schedule : 0) | float_modes_here() << message_header::modes_shift;
  f.counted_steps = steps_;
  f.run = run_;
  if (!pairs_ranks && rounds_ != 0) f.last_round = rounds_ - 1;
  f.history = history_;
  return f;
}

DILOCO_ENGINE
void DILOCO_CLASS::encode_contribution(std::byte* slots) {
  auto const step = recipe_.feedback.at(rounds_);
  if constexpr (is_staged) {
    wire_plan::shard const everything{0, index_.tile_count(), 0, 0, 0, 0, plan_.slices().size(), 0, 0};
    float* const x = residual_is_workbench ? residual_.to : workbench_;
    run_stages(recipe_.executor, work_on(x, everything, slots, memory_, 0),
               stage_extent{everything.tiles, 0, everything.slices},
               local_delta<Feedback, padding, weighs_elements>{step, index_.theta(), anchor_, residual_,
                                                               limits(), weights()},
               keeper<feedback_step<Feedback>, residual_bits<Feedback>, padding>{step, 0, residual_},
               index_.bad_row(), limits().sent);
  } else {
    recipe_.executor.for_each(
        index_.tile_count(), encode_kernel<Compressor, Feedback, weighs_elements>{
                                 recipe_.compressor, step, index_.tiles(), index_.theta(), anchor_, residual_,
                                 slots, plan_.slot_bytes(), index_.bad_row(), who(0), limits(), weights()});
  }
  if (plan_.carried() != 0) {
    recipe_.executor.for_each(index_.tile_count(),
                              carry_out_kernel{carried(0), slots, plan_.slot_bytes(), index_.bad_row()});
  }
}

DILOCO_ENGINE
template <class C>
stage_work<C> DILOCO_CLASS::work_on(float* x, wire_plan::shard const& s, std::byte* slots,
                                    memory_pair const& memory, std::uint32_t phase) const {
  return {recipe_.compressor,
          index_.tiles() + s.first_tile,
          index_.slices(),
          x,
          s.column,
          slots,
          plan_.slot_bytes(),
          scratch_,
          constants_.seen_as<float const>(),
          memory.now,
          memory.next,
          who(phase),
          memory.first};
}

/// The RNG stream of this rank, round and phase.
DILOCO_ENGINE
draw DILOCO_CLASS::who(std::uint32_t phase) const {
  return {rounds_, static_cast<std::uint32_t>(recipe_.transport.rank()), phase};
}

/// Whom this rank meets in this round, where ranks pair.
DILOCO_ENGINE
int DILOCO_CLASS::partner() const {
  int const rank = recipe_.transport.rank();
  if constexpr (pairs_ranks)
    return recipe_.exchange.partner(rounds_, rank, recipe_.transport.size());
  else
    return rank;
}

DILOCO_ENGINE
std::size_t DILOCO_CLASS::sent_bytes(bool to_nobody) const {
  int const k = recipe_.transport.size();
  std::size_t const slot = plan_.slot_bytes();
  if (pattern_ == pattern::pairs) return to_nobody ? 0 : slot + vote_bytes;
  if (pattern_ == pattern::gather) return all_gather_sent_bytes(k, slot + vote_bytes);
  return all_to_all_sent_bytes(k, static_cast<std::size_t>(k) * slot) +
         all_gather_sent_bytes(k, slot + vote_bytes);
}

DILOCO_ENGINE
pending_of<Transport> DILOCO_CLASS::send([[maybe_unused]] int partner) {
  exchange_tag const tag{rounds_, 0};
  if constexpr (pairs_ranks)
    return recipe_.transport.exchange(std::move(wires_.contribution), partner, tag);
  else if (pattern_ == pattern::gather)
    return recipe_.transport.all_gather(std::move(wires_.contribution), tag);
  else
    return recipe_.transport.all_to_all(std::move(wires_.contribution), tag);
}

/// Before the payloads, and hands over what was encoded. Where θ must have moved, every rank hears if it did
/// not.
DILOCO_ENGINE
void DILOCO_CLASS::write_headers(std::byte* slots, std::size_t shards, std::size_t slot_bytes,
                                 bool must_move) {
  std::size_t const parts = slot_bytes == sizeof(message_header) ? 0 : wires_.checksum_parts;
  index_.upload_round(recipe_.executor);
  if (must_move) {
    recipe_.executor.for_each(index_.tile_count(),
                              find_motion_kernel{index_.tiles(), index_.theta(), anchor_, index_.moved()});
  }
  checksum* const sums = wires_.sums.template as<checksum>();
  if (parts != 0)
    recipe_.executor.for_each(shards * parts, checksum_kernel{slots, nullptr, slot_bytes, parts, sums});
  recipe_.executor.for_each(1, write_headers_kernel{index_.own_headers(), index_.bad_row(), index_.moved(),
                                                    must_move, slots, slot_bytes, shards, sums, parts});
  hand_over(recipe_.transport, recipe_.executor);
}

DILOCO_ENGINE
auto DILOCO_CLASS::launch_round(bool scheduled) -> result<flight> {
  if (auto fine = usable({}); !fine) return std::move(fine).error();
  if (in_flight_) {
    return fail(cause::wrong_state, say({"launch: round ", rounds_, " is under way; land it first"}));
  }
  if (auto fine = shows_training_point("launch"); !fine) return std::move(fine).error();
  int meets = 0;
  if (auto fine = guard("the exchange", [&] { meets = partner(); }); !fine) return std::move(fine).error();
  if (meets < 0 || meets >= recipe_.transport.size()) {
    return fail(cause::bad_setting, say({"launch: in round ", rounds_, " the exchange ", Exchange::name,
                                         " pairs this rank with rank ", meets, ", which is not there"}));
  }
  return guard("launch", [&] { return encode_and_send(meets, scheduled); });
}

DILOCO_ENGINE
auto DILOCO_CLASS::encode_and_send(int meets, bool scheduled) -> result<flight> {
  if (auto fine = take_wires_back(); !fine) return std::move(fine).error();
  std::byte* const slots = wires_.contribution.send.data();
  adopt_shown(false);
  encode_contribution(slots);
  for (int s = 0; s < plan_.shards(); ++s)
    index_.host().own_headers()[s] = own_header(0, plan_[s].payload_bytes, scheduled);
  std::optional<pending_of<Transport>> pending;
  auto const sent = ask("an exchange", [&] {
    write_headers(slots, static_cast<std::size_t>(plan_.shards()), plan_.slot_bytes(), must_move_);
    pending.emplace(send(meets));
  });
  if (!sent) return broken_by(sent.error());
  in_flight_ = true;
  wait_seconds_ = 0;
  if constexpr (hears<Probe, round_launched>) tell(round_launched{rounds_, steps_, weight_});
  return flight(std::move(*pending), watch_, rounds_, std::exchange(weight_, 0.0), scheduled);
}

/// Whatever the verdict, a share goes out: one that says no, where this rank cannot make it.
DILOCO_ENGINE
auto DILOCO_CLASS::combine_own_shard(arrival_type const& contributions, result<>& verdict, flight const& f)
    -> result<arrival_type> {
  if (verdict) static_cast<void>(verdict = guard("land", [&] { encode_share(contributions); }));
  std::optional<pending_of<Transport>> pending;
  auto const sent =
      ask("an exchange", [&] { send_share(pending, f, verdict ? 0 : refusal(verdict.error().what)); });
  if (!sent) return broken_by(sent.error());
  return receive(*pending);
}

/// `refused`: as in a message header.
DILOCO_ENGINE
void DILOCO_CLASS::send_share(std::optional<pending_of<Transport>>& to, flight const& f,
                              std::uint32_t refused) {
  std::size_t const payload = plan_[recipe_.transport.rank()].payload_bytes;
  index_.host().own_headers()[0] = own_header(detail::share_phase, payload, f.scheduled_);
  index_.host().own_headers()[0].refused = refused;
  write_headers(wires_.share.send.data(), 1, plan_.slot_bytes(), false);
  to.emplace(recipe_.transport.all_gather(std::move(wires_.share), {rounds_, detail::share_phase}));
}

DILOCO_ENGINE
void DILOCO_CLASS::encode_share(arrival_type const& contributions) {
  wire_plan::shard const own = plan_[recipe_.transport.rank()];
  std::byte* const slot = wires_.share.send.data();
  auto const step = recipe_.feedback.owner().at(rounds_);
  int const voices = static_cast<int>(contributions.roster().size());
  if constexpr (is_staged) {
    float* const x =
        owner_is_workbench ? owner_residual_.to : workbench_ + (residual_is_workbench ? 0 : own.column);
    auto work = work_on(x, own, slot, agrees ? memory_ : owner_memory_, 1);
    work.slot_bytes = 0;  // one slot, whatever the shard
    run_stages(recipe_.executor, work, stage_extent{own.tiles, own.first_slice, own.slices},
               combined_delta<Compressor, owner_type, padding>{received(voices, false, nullptr), step,
                                                               own.column, owner_residual_},
               keeper<feedback_step<owner_type>, residual_bits<owner_type>, padding>{step, own.column,
                                                                                     owner_residual_},
               index_.bad_row(), limits().sent);
  } else {
    recipe_.executor.for_each(
        own.tiles, combine_shard_kernel<Compressor, owner_type>{
                       received(voices, false, nullptr), step, index_.tiles() + own.first_tile, own.column,
                       owner_residual_, slot, index_.bad_row(), who(1), limits().sent});
  }
  average_carried(contributions, false, slot, 0);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
