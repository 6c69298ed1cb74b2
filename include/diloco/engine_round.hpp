// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>
#include <diloco/sweep/copy.hpp>

// Members of DiLoCo that land a round: receive, decide, apply, commit.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Lists the messages, for the kernels to come, and brings their headers and checksums to the host. Votes
/// have several copies of a header, and nothing behind them.
DILOCO_ENGINE
void DILOCO_CLASS::collect_headers(arrival_type const& a, std::size_t copies) {
  bool const votes = copies != 1;
  std::size_t const parts = votes ? 0 : wires_.checksum_parts, n = a.roster().size();
  recipe_.executor.wait();  // what was uploaded from there before has arrived
  std::byte const** const host = votes ? index_.host().votes() : index_.host().wires();
  for (std::size_t k = 0; k < n; ++k) host[k] = a.wire(static_cast<int>(k)).data();
  index_.upload_round(recipe_.executor);
  std::byte const* const* const messages = votes ? index_.votes() : index_.wires();
  checksum* const sums = wires_.sums.template as<checksum>();
  if (parts != 0)
    recipe_.executor.for_each(n * parts, checksum_kernel{nullptr, messages, plan_.slot_bytes(), parts, sums});
  recipe_.executor.for_each(n * copies, collect_headers_kernel{messages, copies, sums, parts,
                                                               index_.headers(), index_.checksums()});
  recipe_.executor.wait();
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
  if (broken_ != nullptr || !detail::goes_on_after(e.what)) return broken_by(std::move(e));
  if (pairs_ranks) rounds_ += 1;  // the other pairs have gone on, and who meets whom goes by this number
  return e;
}

DILOCO_ENGINE
result<> DILOCO_CLASS::land_wires(flight& f, land_options const& o) {
  bool const shares = pattern_ == pattern::scatter_gather;
  auto contributions = receive(f.pending_);
  if (!contributions) return given_up(std::move(contributions).error(), f, shares);
  auto verdict = guard("land", [&]() -> result<> {
    auto fine =
        read_headers(*contributions, 0, shares ? static_cast<std::size_t>(recipe_.transport.rank()) : 0, f);
    return fine ? weigh(*contributions, f) : std::move(fine);
  });
  if (shares) return land_shares(std::move(*contributions), std::move(verdict), f, o);
  auto done = vote(verdict, f);
  if (verdict) apply(*contributions, false, o.mix, f);
  auto read = ask("done", [&] { contributions->done(); });
  if (done) static_cast<void>(done = std::move(read));
  last_contribution_.emplace(std::move(*contributions));
  return end_of_round(std::move(verdict), std::move(done), f);
}

/// The round falls through here because messages did not come. The others hear it from what this rank
/// still owes them: a share and a vote that say no. Best effort and without waiting; else they hear it at
/// their deadline.
DILOCO_ENGINE
DILOCO_COLD result<> DILOCO_CLASS::given_up(error e, flight const& f, bool owes_share) {
  std::optional<pending_of<Transport>> sent;
  auto const keep = [&] {  // one that is dropped would tell the peers another story
    if (sent) unfinished_.emplace_back(std::move(*sent), true);
    sent.reset();
  };
  static_cast<void>(ask("an exchange", [&] {
    if (owes_share && wires_.share.send.size() != 0) send_share(sent, f, refusal(e.what));
    keep();
    if (recipe_.transport.size() != 1 && wires_.vote.send.size() != 0) send_vote(sent, f, refusal(e.what));
    keep();
  }));
  return aborted(std::move(e), f);
}

/// The last one first: where all peers have sent their votes, all have this rank's messages.
DILOCO_ENGINE
DILOCO_COLD void DILOCO_CLASS::let_peers_read() noexcept {
  auto const limit = deadline_after(recipe_.deadline_seconds < 1 ? recipe_.deadline_seconds : 1);
  while (!unfinished_.empty()) {
    static_cast<void>(guarded([](cause, std::string_view) { return error{}; },
                              [&] {
                                auto& [sent, waits] = unfinished_.back();
                                if (waits) static_cast<void>(sent.wait(limit));
                              }));
    unfinished_.pop_back();
  }
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
  auto shares = combine_own_shard(contributions, verdict, f);
  auto done = ask("done", [&] { contributions.done(); });
  last_contribution_.emplace(std::move(contributions));
  if (!shares) return given_up(std::move(shares).error(), f, false);
  auto second = guard("land", [&] { return read_headers(*shares, detail::share_phase, 0, f); });
  if (verdict) static_cast<void>(verdict = std::move(second));
  auto counted = vote(verdict, f);
  if (done) static_cast<void>(done = std::move(counted));
  if (verdict) apply(*shares, true, o.mix, f);
  auto read = ask("done", [&] { shares->done(); });
  if (done) static_cast<void>(done = std::move(read));
  last_share_.emplace(std::move(*shares));
  return end_of_round(std::move(verdict), std::move(done), f);
}

DILOCO_ENGINE
auto DILOCO_CLASS::receive(pending_of<Transport>& p) -> result<arrival_type> {
  auto const before = std::chrono::steady_clock::now();
  auto arrived = ask("wait", [&] { return p.wait(deadline_after(recipe_.deadline_seconds)); });
  wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  if (arrived) return arrived;
  unfinished_.emplace_back(std::move(p), false);
  return broken_by(std::move(arrived).error());  // whatever its cause: the buffers are gone
}

DILOCO_ENGINE
received_wires<Compressor> DILOCO_CLASS::received(int voices, bool sharded,
                                                  [[maybe_unused]] float* sums) const {
  received_wires<Compressor> r{recipe_.compressor, index_.wires(), index_.coefficients(), voices, sharded};
  if constexpr (is_staged) {
    r.slices = index_.slices();
    r.constants = constants_.seen_as<float const>();
    r.sums = sums;
    r.who = draw{rounds_, 0, 0};
    r.memory = memory_.now;
  }
  return r;
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
  if (!pairs_ranks) history_ = f.history_;
  if constexpr (hears<Probe, round_landed>)
    tell(round_landed{round, steps_, sent_bytes(alone_in_it), wait_seconds_, total_weight_});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
