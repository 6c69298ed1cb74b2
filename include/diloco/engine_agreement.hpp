// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>

// Members of DiLoCo that decide whether a round stands: what may be sent, what each rank said of itself, and
// the weights.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The outer optimizer's bound is on what it steps by. A decoded block may exceed its own maximum by half, a
/// common column by as much again, and an element of weight below 1 is divided by it.
DILOCO_ENGINE
magnitude_limits DILOCO_CLASS::limits() const {
  magnitude_limits m;
  float outer = recipe_.outer.largest() * (keeps_common<Feedback> ? 0.25f : 0.5f);
  if constexpr (weighs_elements) outer *= recipe_.combine.prior < 1.0f ? recipe_.combine.prior : 1.0f;
  m.sent = Compressor::largest < outer ? Compressor::largest : outer;
  // Weight decay and NoLoCo step by the anchor, too. An anchor that large is a diverged run in any case.
  if (recipe_.outer.largest() < m.anchor) m.anchor = recipe_.outer.largest();
  m.estimate = keeps_common<Feedback> ? m.sent : static_cast<float>(unbounded);
  return m;
}

/// Why the round is dropped where a rank found a value that it cannot send.
DILOCO_ENGINE
DILOCO_COLD error DILOCO_CLASS::unsendable(message_header const& got, int from, std::uint16_t phase) const {
  char const* const beside = plan_.carried() == 0   ? ""
                             : !carries_anchor      ? " or the inner state"
                             : plan_.carried() == 1 ? " or the anchor"
                                                    : " or the anchor or the inner state";
  bool const anchor = (got.bad_row & message_header::anchor_flag) != 0;
  std::uint32_t const index = got.bad_row & ~message_header::anchor_flag;
  std::string const row = index < layout_.rows().size() ? layout_.rows()[index].name : "?";
  std::string const dropped =
      say({"; the round is dropped on ", pairs_ranks ? "both ranks of the pair" : "every rank",
           " and nothing was changed"});
  if (anchor) {
    return fail(cause::not_finite,
                say({"round ", rounds_, ": rank ", from, ": the anchor of '", row, "' is beyond ",
                     limits().anchor, "; the run has diverged: load an earlier state and lower ",
                     "the outer learning rate", dropped}));
  }
  return fail(cause::not_finite,
              say({"round ", rounds_, ": rank ", from, ": ",
                   phase == 0 ? "the pseudo-gradient" : "the combined pseudo-gradient", beside, " of '", row,
                   "' is not finite or beyond ", limits().sent, ", the largest magnitude of ",
                   limits().sent < Compressor::largest ? Outer::name : Compressor::name, dropped}));
}

DILOCO_ENGINE
result<> DILOCO_CLASS::read_headers(arrival_type const& a, std::uint16_t phase, std::size_t own_shard,
                                    flight& f) {
  auto const roster = a.roster();
  collect_headers(a, 1);
  if (phase == 0) agreed_steps_ = 0;
  hash64 history;
  history.add(history_);
  history.add(rounds_);
  for (std::size_t k = 0; k < roster.size(); ++k) {
    std::size_t const shard = phase == 0 ? own_shard : k;
    message_header const got = index_.headers()[k];
    message_header const expected =
        own_header(phase, plan_[static_cast<int>(shard)].payload_bytes, f.scheduled_);
    if (auto fine = detail::check_header(got, index_.checksums()[k], expected, roster[k], pairs_ranks); !fine)
      return fine;
    history.add(static_cast<std::uint64_t>(roster[k]));
    history.add(got.checksum);
    if ((got.flags & message_header::stood_still) != 0) {
      return fail(
          cause::wrong_state,
          say({"round ", rounds_, ": rank ", roster[k],
               " counted steps, and no element of its tensors differs ",
               "from the anchor; if its framework steps other memory than the trainer was given, call ",
               "rebind(parameters); a step that changes nothing is skip_step(); the round is dropped"}));
    }
    if (phase == 0) {
      index_.weights()[k] = got.weight;
      if (got.weight > 0 && got.steps > agreed_steps_) agreed_steps_ = got.steps;
    }
    if (got.bad_row != message_header::no_row) return unsendable(got, roster[k], phase);
  }
  f.history_ = history.value();
  return {};
}

/// What this rank tells the others of a round that it cannot commit, as in a message header. Where its own
/// run has ended, the cause is one after which theirs ends, too.
DILOCO_ENGINE
DILOCO_COLD std::uint32_t DILOCO_CLASS::refusal(cause c) const {
  return 1 +
         static_cast<std::uint32_t>(broken_ != nullptr && detail::goes_on_after(c) ? cause::transport : c);
}

/// The last exchange of a round, before anything is written: all commit, or none. Every rank that can still
/// send takes part in it, whatever it thinks of the round; `verdict` becomes that of all. A rank that gives
/// up before it hears all votes may be alone with that; the others then miss it by name in the next round.
/// Returns what failed once all votes were read: the round stands, and the run ends.
DILOCO_ENGINE
result<> DILOCO_CLASS::vote(result<>& verdict, flight const& f) {
  int const meets = partner();
  if (recipe_.transport.size() == 1 || (pairs_ranks && meets == recipe_.transport.rank())) return {};
  bool const over = !verdict && (broken_ != nullptr || !detail::goes_on_after(verdict.error().what));
  std::optional<pending_of<Transport>> pending;
  auto heard =
      ask("an exchange", [&] { send_vote(pending, f, verdict ? 0 : refusal(verdict.error().what)); });
  result<> done;
  if (!heard) {
    static_cast<void>(broken_by(heard.error()));
  } else if (auto votes = receive(*pending); !votes) {
    static_cast<void>(heard = std::move(votes).error());  // nvcc takes it for a dropped result
  } else {
    bool const knows = verdict.has_value();
    static_cast<void>(heard = guard("land", [&] { return count_votes(*votes, f, knows); }));
    static_cast<void>(done = ask("done", [&] { votes->done(); }));
    last_vote_.emplace(std::move(*votes));
  }
  // Of two errors the one that ends the run counts.
  bool const worse = !heard && (broken_ != nullptr || !detail::goes_on_after(heard.error().what));
  if (verdict || (worse && !over)) static_cast<void>(verdict = std::move(heard));
  return done;
}

DILOCO_ENGINE
void DILOCO_CLASS::send_vote(std::optional<pending_of<Transport>>& to, flight const& f,
                             std::uint32_t refused) {
  message_header mine = own_header(detail::vote_phase, 0, f.scheduled_);
  mine.refused = refused;
  mine.history = f.history_;
  std::fill_n(index_.host().own_headers(), vote_copies, mine);
  write_headers(wires_.vote.send.data(), vote_copies, sizeof(message_header), false);
  exchange_tag const tag{rounds_, detail::vote_phase};
  if constexpr (pairs_ranks)
    to.emplace(recipe_.transport.exchange(std::move(wires_.vote), partner(), tag));
  else
    to.emplace(recipe_.transport.all_gather(std::move(wires_.vote), tag));
}

/// `knows`: this rank could read all messages, so it knows what the others must have read. Of several that
/// say no, the one counts that ends the run.
DILOCO_ENGINE
result<> DILOCO_CLASS::count_votes(arrival_type const& a, flight const& f, bool knows) {
  collect_headers(a, vote_copies);
  message_header expected = own_header(detail::vote_phase, 0, f.scheduled_);
  auto const roster = a.roster();
  result<> verdict;
  for (std::size_t k = 0; k < roster.size(); ++k) {
    if (roster[k] == recipe_.transport.rank()) continue;
    std::size_t at = k * vote_copies;
    if (index_.headers()[at].checksum != index_.checksums()[at]) at += 1;
    message_header const& got = index_.headers()[at];
    expected.history = knows ? f.history_ : got.history;
    auto fine = detail::check_header(got, index_.checksums()[at], expected, roster[k], pairs_ranks);
    bool const worse = !fine && !detail::goes_on_after(fine.error().what);
    if (verdict || worse) static_cast<void>(verdict = std::move(fine));
    if (worse) break;
  }
  return verdict;
}

/// Coefficients of the mean, and whether this rank's contribution is in it.
DILOCO_ENGINE
result<> DILOCO_CLASS::weigh(arrival_type const& a, flight& f) {
  auto const roster = a.roster();
  std::size_t const n = roster.size();
  float* const coefficients = index_.host().coefficients();
  total_weight_ = 0;
  for (std::size_t k = 0; k < n; ++k) total_weight_ += index_.weights()[k];
  if (!non_negative.holds(total_weight_) ||
      !recipe_.combine.coefficients({index_.weights(), n}, {coefficients, n})) {
    return fail(cause::bad_setting,
                say({"round ", rounds_, ": the workers' weights (tokens) add up to ", total_weight_,
                     "; there is nothing to take the mean of (count steps with step or after_step)"}));
  }
  // A linear rule is a mean, or less: what it makes of contributions within their bound is within the bound.
  double share = 0;
  for (std::size_t k = 0; k < n; ++k) share += std::fabs(static_cast<double>(coefficients[k]));
  if (!(share <= 1.001)) {
    return fail(
        cause::bad_setting,
        say({"round ", rounds_, ": the coefficients of ", Combine::name, " add up to ", share,
             " in magnitude, and 1 is the most; put a larger factor into the outer ", "learning rate"}));
  }
  for (std::size_t k = 0; k < n; ++k) {
    // The common column is the plain mean of all estimates, so each increment counts by 1/K in every round. A
    // share that depended on who is idle would leave the column off by the difference for ever (EF21-PP,
    // Fatkhullin et al. 2021).
    if constexpr (keeps_common<Feedback> && has_residual)
      coefficients[k] = coefficients[k] > 0 ? 1.0f / static_cast<float>(recipe_.transport.size()) : 0.0f;
    if (roster[k] == recipe_.transport.rank()) f.heard_ = coefficients[k] != 0;
  }
  index_.upload_round(recipe_.executor);
  return {};
}

DILOCO_ENGINE
result<> DILOCO_CLASS::try_reset_feedback() {
  if (auto fine = usable({}); !fine) return fine;
  if (in_flight_) {
    return fail(cause::wrong_state, say({"reset_feedback: round ", rounds_, " is under way; land it first"}));
  }
  return guard("reset_feedback", [&] {
    for (std::string_view name : {"residual", "owner_residual", "common"}) {
      std::span<float> const c = table_[name];
      zero_kernel const zero{c.data(), c.size()};
      recipe_.executor.for_each(zero.tiles(), zero);
    }
    recipe_.executor.wait();
  });
}

DILOCO_ENGINE
DILOCO_COLD result<> DILOCO_CLASS::compare_anchors() {
  std::vector<std::uint64_t> digests;
  for (layout::row const& r : layout_.rows())
    digests.push_back(r.frozen ? 0 : digest_of_column(recipe_.executor, anchor_ + r.column, r.size));
  auto found = ask("an exchange", [&] {
    return first_difference(recipe_.transport, recipe_.executor, std::span<std::uint64_t const>(digests),
                            {rounds_, detail::anchors_phase}, deadline_after(recipe_.deadline_seconds));
  });
  if (!found) return broken_by(std::move(found).error());
  if (!found->has_value()) return {};
  difference const d = **found;
  return broken_by(
      fail(cause::disagreement,
           say({"after round ", rounds_ - 1, " rank ", d.rank, " and rank 0 hold different anchors of '",
                layout_.rows()[d.index].name, "'; an outer optimizer or compressor is not replicated"})));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
