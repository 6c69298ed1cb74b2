// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/rounds.hpp>
#include <diloco/sweep/on_backend.hpp>
#include <diloco/wire/contract.hpp>

// Actions, flights by hand, and the half of a round that receives: walk the legs, vote, apply, commit.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE result<> round_machine::room_for(action_list const& actions) const {
  if (auto fine = check(actions); !fine) return fine;
  for (action const* a = actions.begin(); a != actions.end(); ++a) {
    bool in_the_way = a->what == action::launch && flights_[static_cast<std::size_t>(a->fragment)]->open;
    for (action const* before = actions.begin(); before != a; ++before)
      in_the_way = in_the_way && (before->what != action::land || before->fragment != a->fragment);
    for (auto const& f : flights_) {
      bool const this_one = in_the_way && f->fragment == static_cast<std::size_t>(a->fragment);
      if (!f->open || !(this_one || f->by_hand)) continue;
      return fail(
          *f, cause::wrong_state,
          say({"step: a round is due after this step, and ", name_of(*f), " is under way; land it first"}));
    }
  }
  return {};
}

/// Checks the actions of a schedule.
DILOCO_COLD DILOCO_CORE result<> round_machine::check(action_list const& actions) const {
  for (action const& a : actions) {
    if (a.fragment < 0 || static_cast<std::size_t>(a.fragment) >= flights_.size()) {
      return run_.fail(cause::bad_setting,
                       say({"schedule: there is no fragment ", a.fragment, " among ", flights_.size()}));
    }
    if (a.what == action::land_and_launch && !facts_.eager) {
      return run_.fail(cause::bad_setting,
                       "schedule: has a land_and_launch action, and its traits do not say .eager");
    }
    if (!zero_to_one.holds(static_cast<double>(a.mix)))
      return run_.fail(cause::bad_setting, say({"schedule: mix = ", a.mix, " ", range_text(zero_to_one)}));
  }
  return {};
}

/// A round that is dropped on all ranks does not keep the others from the actions that follow. Gives the
/// first error.
DILOCO_COLD DILOCO_CORE result<> round_machine::perform(action_list const& actions) {
  auto first = check(actions);
  if (!first) return first;
  for (action const& a : actions) {
    auto done = perform(a);
    if (first) static_cast<void>(first = std::move(done));
    if (run_.ended()) break;
  }
  return first;
}

DILOCO_COLD DILOCO_CORE result<> round_machine::perform(action const& a) {
  auto const i = static_cast<std::size_t>(a.fragment);
  round_flight& f = *flights_[i];
  if (a.what == action::launch) {
    auto launched = launch(i, false);
    fragments_[i].landed_early = !launched;
    return launched;
  }
  if (a.what == action::land_and_launch) {
    auto const ready = run_.shows_training_point("land");
    return ready ? land_and_launch(i, true) : ready;
  }
  if (std::exchange(fragments_[i].landed_early, false) && !f.open) return {};
  if (auto fine = may_land(f); !fine) return fine;
  auto done = land_guarded(f, a.mix);
  return !done && is_idle(f) ? result<>{} : std::move(done);
}

DILOCO_COLD DILOCO_CORE result<> round_machine::land_guarded(round_flight& f, float mix) {
  run_.current_round = f.number;
  auto done = run_.guard("land", [&] { return land(f, mix); });
  if (run_.ended()) f.open = false;
  return done;
}

/// Whether the caller may start rounds.
DILOCO_COLD DILOCO_CORE result<> round_machine::may_call(std::string_view call) const {
  if (!facts_.by_step_only) return {};
  return run_.fail(cause::wrong_state, say({call,
                                            ": each step of this trainer is a round, and sends the "
                                            "gradients that step() was given"}));
}

DILOCO_COLD DILOCO_CORE result<flight> round_machine::launch_by_hand(int fragment) {
  if (auto fine = may_call("launch"); !fine) return std::move(fine).error();
  if (fragment < 0 || static_cast<std::size_t>(fragment) >= flights_.size()) {
    return run_.fail(cause::bad_setting,
                     say({"launch: there is no fragment ", fragment, " among ", flights_.size()}));
  }
  for (auto const& f : flights_) {
    if (!f->open || f->by_hand) continue;
    return fail(*f, cause::wrong_state, say({"launch: ", name_of(*f), by_schedule}));
  }
  auto const i = static_cast<std::size_t>(fragment);
  if (auto fine = launch(i, true); !fine) return std::move(fine).error();
  return flight(flights_[i]);
}

DILOCO_COLD DILOCO_CORE result<> round_machine::land_by_hand(flight&& f, land_options const& o) {
  if (f.flight_ == nullptr) return run_.fail(cause::wrong_state, "land: this flight was handed over before");
  bool ours = false;
  for (auto const& mine : flights_) ours = ours || mine == f.flight_;
  if (!ours) return run_.fail(cause::wrong_state, "land: this flight is another trainer's");
  round_flight& mine = *f.flight_;
  if (!f.is_open()) return run_.fail(cause::wrong_state, "land: this flight has ended before");
  if (auto fine = may_land(mine); !fine) return fine;
  if (!zero_to_one.holds(static_cast<double>(o.mix))) {
    return fail(mine, cause::bad_setting, say({"land: mix = ", o.mix, " ", range_text(zero_to_one)}));
  }
  auto const keep = std::move(f.flight_);
  return land_guarded(mine, o.mix);
}

/// Votes are exchanges, too, so all ranks must land in one order: that of the launches.
DILOCO_COLD DILOCO_CORE result<> round_machine::may_land(round_flight const& f) const {
  if (auto fine = run_.shows_training_point("land"); !fine) return fine;
  if (!f.open) {
    return fail(f, cause::wrong_state, say({"land: ", name_of(f), " was not launched"}));
  }
  if (!usable()) return {};  // `land` says why, and tells the peers
  for (auto const& other : flights_) {
    if (!other->open || other->dropped || other->order >= f.order) continue;
    return fail(f, cause::wrong_state,
                say({"land: ", name_of(*other), " was launched before ", name_of(f), "; land it first"}));
  }
  return {};
}

/// What the schedule launched lands first, with mix 1: steps in flight stay in θ, and the next round sends
/// them. Where there were none, that round may be dropped, so θ becomes the anchor at the landing.
/// A fragment without steps since its last round has nothing to send. That is an error only if it is so for
/// all fragments.
DILOCO_COLD DILOCO_CORE result<> round_machine::sync() {
  if (auto fine = may_call("sync"); !fine) return fine;
  if (auto fine = usable(); !fine) return fine;
  for (auto const& f : flights_) {
    if (f->open && f->by_hand)
      return fail(*f, cause::wrong_state, say({"sync: ", name_of(*f), " is under way; land it first"}));
  }
  if (auto fine = run_.shows_training_point("sync"); !fine) return fine;
  if (facts_.eager && any_open()) return sync_eagerly();
  result<> first;
  auto const keep = [&](result<> done) {
    if (first) static_cast<void>(first = std::move(done));
  };
  bool did_something = any_open();
  result<> idle;
  while (round_flight* const f = oldest_open()) {
    fragments_[f->fragment].landed_early = true;
    keep(land_guarded(*f, fragments_[f->fragment].stepped ? 1 : 0));
    if (run_.ended()) return first;
  }
  for (std::size_t i = 0; i < flights_.size() && !run_.ended(); ++i) {
    auto done = launch(i, true);
    if (done) static_cast<void>(done = land_guarded(*flights_[i], 0));
    if (!done && !run_.ended() && flights_[i]->total_weight == 0 && fragments_[i].at_anchor) {
      static_cast<void>(idle = std::move(done));
      continue;
    }
    did_something = true;
    keep(std::move(done));
  }
  return did_something ? std::move(first) : std::move(idle);
}

DILOCO_COLD DILOCO_CORE round_flight* round_machine::oldest_open() const {
  round_flight* oldest = nullptr;
  for (auto const& f : flights_) {
    if (f->open && (oldest == nullptr || f->order < oldest->order)) oldest = f.get();
  }
  return oldest;
}

DILOCO_COLD DILOCO_CORE result<> round_machine::land(round_flight& f, float mix) {
  f.mix = mix;
  if (f.early) return land_eagerly(f.fragment, false);
  result<> verdict, done;
  if (auto heard = hear(f, verdict, done); !heard) return heard;
  if (verdict) apply(f, mix);
  auto read = ask(f, "done", [&] { f.messages.back()->done(); });
  if (done) static_cast<void>(done = std::move(read));
  return end_of_round(std::move(verdict), std::move(done), f);
}

/// `verdict` and `done`: as in receive_leg. Error: the round was given up.
DILOCO_COLD DILOCO_CORE result<> round_machine::hear(round_flight& f, result<>& verdict, result<>& done) {
  if (auto fine = usable(); !fine) {  // another flight ended the run
    // After a flight that was dropped, peers wait in its exchanges and not in those of a later one.
    bool behind_dropped = false;
    for (auto const& other : flights_) behind_dropped |= other->dropped && other->order < f.order;
    if (!behind_dropped) send_refusals(f, 1 + static_cast<std::uint32_t>(cause::peer_lost), 1);
    f.open = false;
    return fine;
  }
  for (std::size_t i = 0; i < f.messages.size(); ++i) {
    if (auto here = receive_leg(f, i, verdict, done); !here)
      return given_up(std::move(here).error(), f, i + 1);
  }
  auto counted = vote(verdict, f);
  if (done) static_cast<void>(done = std::move(counted));
  return {};
}

/// `verdict`: whether this rank can commit the round. `done`: what failed after the messages were read.
/// Whatever the verdict, this rank's message of a later leg goes out: one that refuses, where it cannot make
/// another. Error: messages did not come.
DILOCO_COLD DILOCO_CORE result<> round_machine::receive_leg(round_flight& f, std::size_t i, result<>& verdict,
                                                            result<>& done) {
  if (i != 0) {
    if (verdict) static_cast<void>(verdict = run_.guard("land", [&] { prepare_leg(f, i); }));
    auto sent = ask(f, "an exchange", [&] { send_share(f, i, refusal(verdict)); });
    if (!sent) return run_.ends(std::move(sent).error());
  }
  auto arrived = receive(f, *f.messages[i], i);
  if (i != 0) {
    auto read = ask(f, "done", [&] { f.messages[i - 1]->done(); });
    if (done) static_cast<void>(done = std::move(read));
  }
  if (!arrived) return arrived;
  std::uint32_t const culprit = f.culprit;
  auto fine = run_.guard("land", [&]() -> result<> {
    auto headers = read_headers(f, i);
    return headers ? weigh(f, i) : std::move(headers);
  });
  if (!verdict) f.culprit = culprit;  // that of the first reason
  if (verdict) static_cast<void>(verdict = std::move(fine));
  return {};
}

/// What a later leg sends, made of the messages of the leg before. Enqueues.
DILOCO_COLD DILOCO_CORE void round_machine::prepare_leg(round_flight& f, std::size_t i) {
  if (facts_.legs.legs[i].sends == content::forwarded) return forward(f, i);
  int const contributors = static_cast<int>(f.messages[i - 1]->roster().size());
  std::byte* const to = f.messages[i]->to_send();
  policies_.encode_share(f, contributors, to);
  average_auxiliary(f, contributors, false, to, 0);
}

DILOCO_COLD DILOCO_CORE result<> round_machine::receive(round_flight& f, exchange_slot& m,
                                                        std::size_t exchange) {
  // A group that waits for a rank of its own says so at its deadline, and in the next exchange. The other
  // groups must still listen then, to name that rank and to take part in the same vote.
  double const patience = facts_.legs.group == 0 ? 1 : 1 + 0.5 * static_cast<double>(exchange);
  double const seconds = patience * facts_.deadline_seconds;
  auto const before = std::chrono::steady_clock::now();
  auto arrived = ask(f, "wait", [&] { return m.receive(deadline_after(seconds)); });
  f.wait_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  if (arrived) return arrived;
  f.unfinished.emplace_back(&m, false);
  return run_.ends(std::move(arrived).error());  // whatever its cause: the buffers cannot be taken back
}

DILOCO_COLD DILOCO_CORE void round_machine::apply(round_flight& f, float mix) {
  bool const sharded = facts_.legs.shards();
  int const contributors = !sharded                 ? static_cast<int>(f.messages.back()->roster().size())
                           : facts_.legs.group == 0 ? 1
                                                    : over_.size() / facts_.legs.group;
  if (mix != 0) {  // steps taken in flight survive, so copies and step count must include them
    policies_.adopt_callers_copy(f);
    if (run_.steps_taken > f.agreed_steps) f.agreed_steps = run_.steps_taken;
  }
  average_auxiliary(f, contributors, sharded, nullptr, mix);
  policies_.apply(f, contributors, sharded, mix);
  where_.wait();
}

DILOCO_COLD DILOCO_CORE void round_machine::commit(round_flight& f) {
  fragment_progress& p = fragments_[f.fragment];
  commit_state(f);
  policies_.commit(f);
  p.at_anchor = false;
  if (f.mix == 0) p.is_at_anchor();
  tell_landed(f);
}

/// If this rank's coefficient is 0, its residual and memory stay. State that all ranks share, and that of a
/// shard's owner, commits in any case.
DILOCO_COLD DILOCO_CORE void round_machine::commit_state(round_flight& f) {
  fragment_progress& p = fragments_[f.fragment];
  state_.commit(f.fragment, f.counted, f.group_counted);
  f.open = false;
  p.round += 1;
  run_.rounds += 1;
  if (!facts_.legs.pairs()) p.history = f.history;
}

DILOCO_COLD DILOCO_CORE void round_machine::tell_landed(round_flight const& f) {
  policies_.tell(round_landed{f.number, run_.steps, sent_bytes(f, f.partner == over_.rank(), false),
                              f.wait_seconds, f.total_weight});
}

/// Commits or aborts. An error in `done` came after the vote: the round stands and the run ends.
DILOCO_COLD DILOCO_CORE result<> round_machine::end_of_round(result<> verdict, result<> done,
                                                             round_flight& f) {
  if (!verdict) return aborted(std::move(verdict).error(), f);
  commit(f);
  if (!done) return run_.ends(std::move(done).error());
  if constexpr (DILOCO_CHECKS >= DILOCO_CHECKS_COLLECTIVE) {
    if (!facts_.replicas_differ()) return compare_anchors(f.fragment);
  }
  return {};
}

/// Drops the round: its weight goes into the next. Ends the run for causes after which it cannot go on.
DILOCO_COLD DILOCO_CORE result<> round_machine::aborted(error e, round_flight& f) {
  fragment_progress& p = fragments_[f.fragment];
  f.open = false;
  p.must_move = false;  // the caller may recover by copying θ̄ to θ
  // What it carried is lost if it was a gradient, or θ became the anchor at the launch.
  if (!facts_.by_step_only && !facts_.eager) {
    p.stepped = p.stepped || f.stepped;
    p.weight += f.weight;
  }
  policies_.tell(round_aborted{f.number, static_cast<int>(e.what)});
  if (run_.ended() || !detail::goes_on_after(e.what)) return run_.ends(std::move(e));
  if (facts_.legs.pairs()) {  // the other pairs have gone on, and who meets whom follows from this number
    p.round += 1;
    run_.rounds += 1;
  }
  return e;
}

/// Drops the round after a leg failed. Sends refusals in the later legs and the vote, without waiting.
/// Peers that do not get them fail at their deadline.
DILOCO_COLD DILOCO_CORE result<> round_machine::given_up(error e, round_flight& f, std::size_t next_leg) {
  send_refusals(f, refusal(e), next_leg);
  return aborted(std::move(e), f);
}

DILOCO_COLD DILOCO_CORE void round_machine::send_refusals(round_flight& f, std::uint32_t refused,
                                                          std::size_t next_leg) {
  static_cast<void>(ask(f, "an exchange", [&] {
    for (std::size_t i = next_leg; i < f.messages.size(); ++i) {
      if (f.messages[i]->to_send() == nullptr) continue;
      send_share(f, i, refused);
      f.unfinished.emplace_back(f.messages[i].get(), true);
    }
    if (over_.size() == 1 || f.vote->to_send() == nullptr) return;
    send_vote(f, refused);
    f.unfinished.emplace_back(f.vote.get(), true);
  }));
}

DILOCO_COLD DILOCO_CORE void round_machine::let_peers_read() noexcept {
  double const seconds = facts_.deadline_seconds;
  auto const limit = deadline_after(seconds < 1 ? seconds : 1);
  for (auto const& f : flights_) {
    while (!f->unfinished.empty())
      static_cast<void>(
          guarded([](cause, std::string_view) { return error{}; }, [&] { f->finish_one(limit); }));
  }
}

DILOCO_COLD DILOCO_CORE result<> round_machine::reset_feedback() {
  if (auto fine = usable(); !fine) return fine;
  if (auto fine = all_landed("reset_feedback"); !fine) return fine;
  return run_.guard("reset_feedback", [&] {
    for (auto const& c : state_.all()) {
      if (c->kind() != column_kind::residual && c->kind() != column_kind::estimate) continue;
      for (float* floats : {c->current(), c->next()}) {
        zero_kernel const zero{floats, c->floats()};
        where_.for_each(zero.tiles(), zero);
      }
    }
    where_.wait();
  });
}

DILOCO_COLD DILOCO_CORE result<> round_machine::compare_anchors(std::size_t fragment) {
  round_flight const& f = *flights_[fragment];
  std::vector<std::uint64_t> digests;
  for (layout::row const& r : model_.rows()) {
    bool const here = !r.frozen && r.fragment == fragment;
    float const* const p = anchor_ == nullptr ? r.data : anchor_ + r.column;
    digests.push_back(here ? digest_of_column(where_, p, r.size) : 0);
  }
  auto found = ask(f, "an exchange", [&] {
    return first_difference(over_, std::span<std::uint64_t const>(digests), tag_of(f, detail::anchors_phase),
                            deadline_after(facts_.deadline_seconds));
  });
  if (!found) return run_.ends(std::move(found).error());
  if (!found->has_value()) return {};
  difference const d = **found;
  return run_.ends(
      run_.fail(cause::disagreement,
                say({"after round ", f.number, " rank ", d.rank, " and rank 0 hold different anchors of '",
                     model_.rows()[d.index].name, "'; an outer optimizer or compressor is not replicated"})));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
