// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/rounds.hpp>

// A worker counts its own message one round before the others do (Kale, Douillard and Donchev 2025, arXiv
// 2502.12996). Two flights take turns: messages of round k − 1 are read while those of round k go out.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// As land_eagerly; an exception ends the run and its flights. A round in which nobody stepped is no error.
DILOCO_COLD DILOCO_CORE result<> round_machine::land_and_launch(std::size_t fragment, bool launches) {
  round_flight& last = *flights_[fragment];
  bool const lands = last.open;
  run_.current_round = fragments_[fragment].round;
  auto done = run_.guard("land", [&] { return land_eagerly(fragment, launches); });
  if (run_.ended()) flights_[fragment]->open = next_->open = false;
  return !done && lands && is_idle(last) ? result<>{} : std::move(done);
}

/// Lands the fragment's open round, if there is one. With `launches`, also launches the next: θ is measured
/// before pass B writes it.
DILOCO_COLD DILOCO_CORE result<> round_machine::land_eagerly(std::size_t fragment, bool launches) {
  round_flight* const last = flights_[fragment]->open ? flights_[fragment].get() : nullptr;
  result<> verdict, done;
  if (last != nullptr) {
    if (auto heard = hear(*last, verdict, done); !heard) return heard;
    if (verdict) {
      commit_state(*last);
    } else {
      static_cast<void>(verdict = aborted(std::move(verdict).error(), *last));
      if (run_.ended()) return verdict;
    }
  }
  result<> sent;
  if (launches) {
    std::swap(flights_[fragment], next_);
    static_cast<void>(sent = launch(fragment, false));
  }
  step_eagerly(*flights_[fragment], last, verdict.has_value(), launches && sent.has_value());
  if (last != nullptr) {
    auto read = ask(*last, "done", [&] { last->messages.back()->done(); });
    if (done) static_cast<void>(done = std::move(read));
    if (verdict) tell_landed(*last);
  }
  if (!done) return run_.ends(std::move(done).error());
  return sent ? std::move(verdict) : std::move(sent);
}

/// Pass B over what `last` brought and what this worker says in `now`: θ becomes the anchor.
DILOCO_COLD DILOCO_CORE void round_machine::step_eagerly(round_flight& now, round_flight* last,
                                                         bool committed, bool launched) {
  if (launched) {
    now.early = now.weight > 0 && can_be_sent(now);
    now.agreed_steps = run_.steps_taken;
  }
  int const n = list_eager_terms(now, last, committed, launched);
  if (n == 0) return;
  policies_.apply(now, n, false, 0);
  where_.wait();
  policies_.commit(now);
  fragments_[now.fragment].is_at_anchor();
}

/// Contributors of the outer step: mean of the last round, minus this worker's share of it that was counted
/// before, plus the share of the round that begins. Those with coefficient 0 are left out. With equal weights
/// these are the others' last messages and this worker's new one. Waits, then enqueues.
DILOCO_COLD DILOCO_CORE int round_machine::list_eager_terms(round_flight& now, round_flight* last,
                                                            bool committed, bool launched) const {
  where_.wait();  // until then an upload may read the table
  auto const& to = now.table.host();
  int n = 0;
  auto const add = [&](std::byte const* message, float coefficient) {
    if (coefficient == 0.0f) return;
    to.messages[n] = message;
    to.coefficients[n++] = coefficient;
  };
  if (last != nullptr) {
    auto const roster = last->messages.back()->roster();
    for (std::size_t k = 0; k < roster.size(); ++k) {
      float const mean = committed ? last->table.host().coefficients[k] : 0.0f;
      add(last->messages.back()->message(static_cast<int>(k)).data(),
          roster[k] == over_.rank() && last->early ? mean - facts_.own_share : mean);
    }
  }
  if (launched && now.early) add(now.sent, facts_.own_share);
  now.table.upload_round(where_);
  return n;
}

/// Whether the other ranks can take the message that this rank has just written. Waits.
DILOCO_COLD DILOCO_CORE bool round_machine::can_be_sent(round_flight& f) const {
  where_.wait();
  f.table.host().messages[0] = f.sent;
  collect_headers(f, 1, sizeof(message_header), false);
  message_header const& own = f.table.headers()[0];
  return own.bad_row == message_header::no_row && (own.flags & message_header::stood_still) == 0;
}

/// Lands the open round and gives every worker the same anchor, but for rounding.
DILOCO_COLD DILOCO_CORE result<> round_machine::sync_eagerly() {
  result<> first;
  if (fragments_[0].stepped) static_cast<void>(first = land_and_launch(0, true));
  if (run_.ended()) return first;
  auto last = land_and_launch(0, false);
  return first ? std::move(last) : std::move(first);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
