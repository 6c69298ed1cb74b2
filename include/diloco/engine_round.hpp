// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>
#include <diloco/sweep/copy.hpp>

// Members of DiLoCo that make a round, from launch to commit.

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
  return {recipe_.compressor, index_.tiles() + s.first_tile,
          index_.slices(),    x,
          s.column,           slots,
          plan_.slot_bytes(), scratch_,
          constants(),        memory.now,
          memory.next,        who(phase),
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
  if (pattern_ == pattern::pairs) return to_nobody ? 0 : slot;
  if (pattern_ == pattern::gather) return all_gather_sent_bytes(k, slot);
  return all_to_all_sent_bytes(k, static_cast<std::size_t>(k) * slot) + all_gather_sent_bytes(k, slot);
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
void DILOCO_CLASS::write_headers(std::byte* slots, int shards, bool must_move) {
  index_.upload_round(recipe_.executor);
  if (must_move) {
    recipe_.executor.for_each(index_.tile_count(),
                              find_motion_kernel{index_.tiles(), index_.theta(), anchor_, index_.moved()});
  }
  recipe_.executor.for_each(
      1, write_headers_kernel{index_.own_headers(), index_.bad_row(), index_.moved(), must_move, slots,
                              plan_.slot_bytes(), static_cast<std::size_t>(shards)});
  hand_over(recipe_.transport, recipe_.executor);
}

/// Lists the wires, for the sweeps to come, and brings their message headers to the host.
DILOCO_ENGINE
void DILOCO_CLASS::collect_headers(arrival_type const& a) {
  std::size_t const n = a.roster().size();
  recipe_.executor.wait();  // what was uploaded from there before has arrived
  for (std::size_t k = 0; k < n; ++k) index_.host().wires()[k] = a.wire(static_cast<int>(k)).data();
  index_.upload_round(recipe_.executor);
  recipe_.executor.for_each(n, collect_headers_kernel{index_.wires(), index_.headers()});
  recipe_.executor.wait();
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
    write_headers(slots, plan_.shards(), must_move_);
    pending.emplace(send(meets));
  });
  if (!sent) return broken_by(sent.error());
  in_flight_ = true;
  wait_seconds_ = 0;
  if constexpr (hears<Probe, round_launched>) tell(round_launched{rounds_, steps_, weight_});
  return flight(std::move(*pending), watch_, rounds_, std::exchange(weight_, 0.0), scheduled);
}

DILOCO_ENGINE
result<> DILOCO_CLASS::one_round(bool scheduled) {
  auto f = launch_round(scheduled);
  return f ? settle(std::move(*f), {}) : result<>(std::move(f).error());
}

DILOCO_ENGINE
result<> DILOCO_CLASS::settle(flight&& f, land_options const& o) {
  if (f.watch_ == nullptr) return fail(cause::wrong_state, "land: this flight was handed over before");
  if (f.watch_ != watch_) return fail(cause::wrong_state, "land: this flight is another trainer's");
  if (auto fine = shows_training_point("land"); !fine) return fine;
  if (!zero_to_one.holds(static_cast<double>(o.mix))) {
    return fail(cause::bad_setting, say({"land: mix = ", o.mix, " ", range_text(zero_to_one)}));
  }
  f.watch_.reset();
  return guard("land", [&] { return land_wires(f, o); });
}

/// A round that fell through: its weight goes into the next.
DILOCO_ENGINE
result<> DILOCO_CLASS::aborted(error e, flight const& f) {
  in_flight_ = false;
  must_move_ = false;  // the way out of an aborted round may be to copy θ̄ to θ
  weight_ += f.weight_;
  if constexpr (hears<Probe, round_aborted>) tell(round_aborted{rounds_, static_cast<int>(e.what)});
  bool const goes_on =
      e.what == cause::not_finite || e.what == cause::bad_setting || e.what == cause::wrong_state;
  if (!goes_on) return broken_by(std::move(e));
  if (pairs_ranks) rounds_ += 1;  // the other pairs have gone on, and who meets whom goes by this number
  return e;
}

DILOCO_ENGINE
result<> DILOCO_CLASS::land_wires(flight& f, land_options const& o) {
  auto contributions = receive(f.pending_);
  if (!contributions) return aborted(std::move(contributions).error(), f);
  int const own = pattern_ == pattern::scatter_gather ? recipe_.transport.rank() : 0;
  auto verdict = read_headers(*contributions, 0, static_cast<std::size_t>(own), f);
  if (verdict)
    static_cast<void>(verdict = weigh(*contributions, f));  // nvcc takes the assignment for a dropped result
  if (pattern_ == pattern::scatter_gather)
    return land_shares(std::move(*contributions), std::move(verdict), f, o);
  if (verdict) apply(*contributions, false, o.mix, f);
  auto done = ask("done", [&] { contributions->done(); });
  last_contribution_.emplace(std::move(*contributions));
  return end_of_round(std::move(verdict), std::move(done), f);
}

/// Commits, or not. An error of `done` comes after what was read, so the round stands and the run ends.
DILOCO_ENGINE
result<> DILOCO_CLASS::end_of_round(result<> verdict, result<> done, flight const& f) {
  if (!verdict) return aborted(std::move(verdict).error(), f);
  commit(f);
  if (!done) return broken_by(std::move(done).error());
  if constexpr (DILOCO_CHECKS >= DILOCO_CHECKS_COLLECTIVE && !pairs_ranks) return compare_anchors();
  return {};
}

/// The second half of a round under scatter–gather.
DILOCO_ENGINE
result<> DILOCO_CLASS::land_shares(arrival_type&& contributions, result<> verdict, flight& f,
                                   land_options const& o) {
  auto shares = combine_own_shard(contributions, !verdict, f);
  auto done = ask("done", [&] { contributions.done(); });
  last_contribution_.emplace(std::move(contributions));
  if (!shares) return aborted(std::move(shares).error(), f);
  auto second = read_headers(*shares, 1, 0, f);
  if (verdict) static_cast<void>(verdict = std::move(second));
  if (verdict) apply(*shares, true, o.mix, f);
  if (done) static_cast<void>(done = ask("done", [&] { shares->done(); }));
  last_share_.emplace(std::move(*shares));
  return end_of_round(std::move(verdict), std::move(done), f);
}

DILOCO_ENGINE
auto DILOCO_CLASS::receive(pending_of<Transport>& p) -> result<arrival_type> {
  auto const before = std::chrono::steady_clock::now();
  auto arrived = ask("wait", [&] { return p.wait(deadline_after(recipe_.deadline_seconds)); });
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  return arrived;
}

DILOCO_ENGINE
received_wires<Compressor> DILOCO_CLASS::received(int voices, bool sharded,
                                                  [[maybe_unused]] float* sums) const {
  received_wires<Compressor> r{recipe_.compressor, index_.wires(), index_.coefficients(), voices, sharded};
  if constexpr (is_staged) {
    r.slices = index_.slices();
    r.constants = constants();
    r.sums = sums;
    r.who = draw{rounds_, 0, 0};
    r.memory = memory_.now;
  }
  return r;
}

DILOCO_ENGINE
auto DILOCO_CLASS::combine_own_shard(arrival_type const& contributions, bool spoiled, flight const& flown)
    -> result<arrival_type> {
  wire_plan::shard const own = plan_[recipe_.transport.rank()];
  if (!spoiled) {
    encode_share(contributions);
  }
  message_header& f = index_.host().own_headers()[0] = own_header(1, own.payload_bytes, flown.scheduled_);
  f.refused = spoiled ? 1 : 0;
  std::optional<pending_of<Transport>> pending;
  auto const sent = ask("an exchange", [&] {
    write_headers(wires_.share.send.data(), 1, false);
    pending.emplace(recipe_.transport.all_gather(std::move(wires_.share), {rounds_, 1}));
  });
  if (!sent) return sent.error();
  return receive(*pending);
}

DILOCO_ENGINE
void DILOCO_CLASS::encode_share(arrival_type const& contributions) {
  wire_plan::shard const own = plan_[recipe_.transport.rank()];
  std::byte* const slot = wires_.share.send.data();
  auto const step = owner_of(recipe_.feedback).at(rounds_);
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

/// A column that is free once the round stands: that of the residual which will not be kept.
DILOCO_ENGINE
float* DILOCO_CLASS::free_column(bool heard) const {
  return !residual_is_workbench ? workbench_ : heard ? residual_.from : residual_.to;
}

DILOCO_ENGINE
void DILOCO_CLASS::average_carried(arrival_type const& a, bool sharded, std::byte* to_slot, float mix) {
  if (plan_.carried() == 0) return;
  int const voices = static_cast<int>(a.roster().size());
  std::size_t const first = to_slot == nullptr ? 0 : plan_[recipe_.transport.rank()].first_tile;
  std::size_t const tiles = to_slot == nullptr ? index_.tile_count() : plan_[recipe_.transport.rank()].tiles;
  recipe_.executor.for_each(tiles, carry_mean_kernel{carried(first), index_.wires(), index_.coefficients(),
                                                     voices, sharded, to_slot, mix});
}

DILOCO_ENGINE
void DILOCO_CLASS::apply(arrival_type const& a, bool sharded, float mix, flight const& f) {
  auto const step = recipe_.outer.at(step_context{rounds_ + 1, 1.0f});
  apply_outer_kernel<Compressor, std::remove_const_t<decltype(step)>, outer_slots, weighs_elements,
                     carries_anchor>
      kernel{received(static_cast<int>(a.roster().size()), sharded, free_column(f.heard_)),
             step,
             mix,
             index_.tiles(),
             index_.theta(),
             anchor_,
             {}};
  for (std::size_t s = 0; s != outer_slots; ++s) kernel.slots[s] = outer_state_[s];
  kernel.common = common_;
  if constexpr (mean_residual<Feedback> && has_residual) kernel.owed = f.heard_ ? residual_.to : nullptr;
  kernel.shown = shown(rounded_by_ = {rounds_, 0, 3});
  kernel.weights = weights();
  kernel.mean_weight = mean_weight_;
  kernel.mean_anchor = mean_anchor_;
  if (mix != 0) {  // steps taken in flight survive in part
    adopt_shown(false);
    if (steps_taken_ > agreed_steps_) agreed_steps_ = steps_taken_;
  }
  average_carried(a, sharded, nullptr, mix);
  recipe_.executor.for_each(index_.tile_count(), kernel);
  if constexpr (agrees)
    recipe_.executor.for_each(plan_.slices().size(), agree_kernel<Compressor>{kernel.wires, memory_.next});
  recipe_.executor.wait();
}

DILOCO_ENGINE
void DILOCO_CLASS::commit(flight const& f) {
  auto const swap = [&](auto& now, auto& next, std::string_view name, std::string_view other) {
    std::swap(now, next);
    table_.swap(name, other);
  };
  // A contribution that counted nothing was not said: what this rank owes and remembers stays. What all ranks
  // computed alike, and what an owner sent to all, was said whatever this rank's weight.
  if (f.heard_) swap(residual_.from, residual_.to, "residual", "residual.next");
  swap(owner_residual_.from, owner_residual_.to, "owner_residual", "owner_residual.next");
  if (agrees || f.heard_) swap(memory_.now, memory_.next, "memory", "memory.next");
  swap(owner_memory_.now, owner_memory_.next, "owner_memory", "owner_memory.next");
  if (recipe_.inner_at_sync == at_sync::reset) {
    inner_.reset(recipe_.executor);
    steps_taken_ = 0;
  }
  if (recipe_.inner_at_sync == at_sync::average) steps_taken_ = agreed_steps_;
  unskipped_ = must_move_ = false;
  show_new_sample();
  in_flight_ = false;
  std::uint64_t const round = rounds_;
  bool const alone_in_it = partner() == recipe_.transport.rank();
  rounds_ += 1;
  if constexpr (hears<Probe, round_landed>)
    tell(round_landed{round, steps_, sent_bytes(alone_in_it), wait_seconds_, total_weight_});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
