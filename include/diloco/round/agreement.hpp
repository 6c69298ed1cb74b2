// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/hash.hpp>
#include <diloco/round/rounds.hpp>

// What decides whether a round stands: message headers, weights, and one vote. Nothing else reads headers.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Lists the messages for the kernels to come, and brings their headers and checksums to the host. Votes have
/// several copies of a header, and nothing behind them: their `slot_bytes` is 0. Waits.
DILOCO_COLD DILOCO_CORE void round_machine::collect_headers(round_flight& f, exchange_slot const& m,
                                                            std::size_t slot_bytes) const {
  bool const votes = slot_bytes == 0;
  std::size_t const copies = votes ? vote_copies : 1, n = m.roster().size();
  std::size_t const parts = votes ? 0 : f.checksum_parts(slot_bytes);
  where_.wait();  // until then the upload of the launch may read the same memory
  std::byte const** const host = votes ? f.table.host().votes : f.table.host().messages;
  for (std::size_t k = 0; k < n; ++k) host[k] = m.message(static_cast<int>(k)).data();
  f.table.upload_round(where_);
  std::byte const* const* const messages = votes ? f.table->votes : f.table->messages;
  checksum* const sums = f.sums.as<checksum>();
  if (parts != 0) where_.for_each(n * parts, checksum_kernel{nullptr, messages, slot_bytes, parts, sums});
  where_.for_each(n * copies, collect_headers_kernel{messages, copies, sums, parts, f.table.headers(),
                                                     f.table.checksums()});
  where_.wait();
}

/// Why the round is dropped where a rank found a value that it cannot send.
DILOCO_COLD DILOCO_CORE error round_machine::unsendable(round_flight const& f, message_header const& got,
                                                        int from, std::uint16_t phase) const {
  magnitude_limits const& limits = facts_.limits;
  std::size_t const planes = f.plan.planes();
  char const* const beside = planes == 0              ? ""
                             : !facts_.carries_anchor ? " or the inner state"
                             : planes == 1            ? " or the anchor"
                                                      : " or the anchor or the inner state";
  bool const anchor = (got.bad_row & message_header::anchor_flag) != 0;
  std::uint32_t const index = got.bad_row & ~message_header::anchor_flag;
  std::string const row = index < model_.rows().size() ? model_.rows()[index].name : "?";
  std::string const dropped =
      say({"; the round is dropped on ", facts_.legs.pairs() ? "both ranks of the pair" : "every rank",
           " and nothing was changed"});
  if (anchor) {
    return fail(
        f, cause::not_finite,
        say({name_of(f), ": rank ", from, ": ", facts_.by_step_only ? "θ" : "the anchor", " of '", row,
             "' is beyond ", limits.anchor, "; the run has diverged: load an earlier state and lower ",
             "the outer learning rate", dropped}));
  }
  return fail(
      f, cause::not_finite,
      say({name_of(f), ": rank ", from, ": ", phase == 0 ? "the " : "the combined ", facts_.signal, beside,
           " of '", row, "' is not finite or beyond ", limits.sent, ", the largest magnitude of ",
           limits.sent < facts_.largest_sent ? facts_.outer : facts_.compressor, dropped}));
}

DILOCO_COLD DILOCO_CORE result<> round_machine::read_headers(round_flight& f, std::size_t leg) {
  exchange_slot const& m = *f.messages[leg];
  collect_headers(f, m, f.plan_of(facts_.legs.legs[leg]).slot_bytes());
  if (leg == 0) f.agreed_steps = 0;
  hash64 history;
  history.add(fragments_[f.fragment].history);
  history.add(f.number);
  auto const roster = m.roster();
  for (std::size_t k = 0; k < roster.size(); ++k) {
    if (auto fine = read_header(f, k, roster[k], leg); !fine) return fine;
    history.add(static_cast<std::uint64_t>(roster[k]));
    history.add(f.table.headers()[k].checksum);
  }
  f.history = history.value();
  return {};
}

/// The header of message k, from rank `from`.
DILOCO_COLD DILOCO_CORE result<> round_machine::read_header(round_flight& f, std::size_t k, int from,
                                                            std::size_t leg) {
  // In the first leg every message brings this rank's shard; afterwards, each brings that of its sender.
  int const shard = leg != 0 ? static_cast<int>(k) : facts_.legs.shards() ? over_.rank() : 0;
  auto const phase = static_cast<std::uint16_t>(leg);
  message_header const got = f.table.headers()[k];
  message_header const expected = own_header(f, phase, f.plan_of(facts_.legs.legs[leg])[shard].payload_bytes);
  if (auto fine = detail::check_header(got, f.table.checksums()[k], expected, from, facts_.legs.pairs());
      !fine)
    return fine;
  if ((got.flags & message_header::stood_still) != 0) {
    return fail(
        f, cause::wrong_state,
        say({name_of(f), ": rank ", from, " counted steps, and no element of its tensors differs ",
             "from the anchor; if its framework steps other memory than the trainer was given, call ",
             "rebind(parameters); a step that changes nothing is skip_step(); the round is dropped"}));
  }
  if (leg == 0) {
    f.table.weights()[k] = got.weight;
    if (got.weight > 0 && got.steps > f.agreed_steps) f.agreed_steps = got.steps;
  }
  if (got.bad_row != message_header::no_row) return unsendable(f, got, from, phase);
  return {};
}

/// What this rank tells the others of a round that it cannot commit, as in a message header. Where its own
/// run has ended, the cause is one after which theirs ends, too.
DILOCO_COLD DILOCO_CORE std::uint32_t round_machine::refusal(error const& e) const {
  return 1 + static_cast<std::uint32_t>(run_.ended() && detail::goes_on_after(e.what) ? cause::transport
                                                                                      : e.what);
}

/// The last exchange of a round, before anything is written: all commit, or none. Every rank that can still
/// send takes part in it, whatever it thinks of the round; `verdict` becomes that of all. A rank that gives
/// up before it hears all votes may be alone with that; the others then miss it by name in the next round.
/// Returns what failed once all votes were read: the round stands, and the run ends.
DILOCO_COLD DILOCO_CORE result<> round_machine::vote(result<>& verdict, round_flight& f) {
  if (meets_nobody(f)) return {};
  bool const over = !verdict && (run_.ended() || !detail::goes_on_after(verdict.error().what));
  auto heard = ask(f, "an exchange", [&] { send_vote(f, refusal(verdict)); });
  result<> done;
  if (!heard) {
    static_cast<void>(run_.ends(heard.error()));
  } else if (auto votes = receive(f, *f.vote); !votes) {
    static_cast<void>(heard = std::move(votes).error());  // nvcc takes it for a dropped result
  } else {
    bool const knows = verdict.has_value();
    static_cast<void>(heard = run_.guard("land", [&] { return count_votes(f, knows); }));
    static_cast<void>(done = ask(f, "done", [&] { f.vote->done(); }));
  }
  // Of two errors the one that ends the run counts.
  bool const worse = !heard && (run_.ended() || !detail::goes_on_after(heard.error().what));
  if (verdict || (worse && !over)) static_cast<void>(verdict = std::move(heard));
  return done;
}

DILOCO_COLD DILOCO_CORE void round_machine::send_vote(round_flight& f, std::uint32_t refused) {
  message_header mine = own_header(f, detail::vote_phase, 0);
  mine.refused = refused;
  mine.history = f.history;
  std::fill_n(f.table.host().own_headers, vote_copies, mine);
  write_headers(f, f.vote->to_send(), vote_copies, sizeof(message_header), false);
  f.vote->start(facts_.legs.pairs() ? operation::pair : operation::all_gather, f.partner,
                tag_of(f, detail::vote_phase));
}

/// `knows`: this rank could read all messages, so it knows what the others must have read. Of several that
/// refuse, the one counts that ends the run.
DILOCO_COLD DILOCO_CORE result<> round_machine::count_votes(round_flight& f, bool knows) {
  collect_headers(f, *f.vote, 0);
  message_header expected = own_header(f, detail::vote_phase, 0);
  auto const roster = f.vote->roster();
  result<> verdict;
  for (std::size_t k = 0; k < roster.size(); ++k) {
    if (roster[k] == over_.rank()) continue;
    std::size_t at = k * vote_copies;
    if (f.table.headers()[at].checksum != f.table.checksums()[at]) at += 1;
    message_header const& got = f.table.headers()[at];
    expected.history = knows ? f.history : got.history;
    auto fine = detail::check_header(got, f.table.checksums()[at], expected, roster[k], facts_.legs.pairs());
    bool const worse = !fine && !detail::goes_on_after(fine.error().what);
    if (verdict || worse) static_cast<void>(verdict = std::move(fine));
    if (worse) break;
  }
  return verdict;
}

/// Coefficients of the mean, and whether this rank's contribution is in it.
DILOCO_COLD DILOCO_CORE result<> round_machine::weigh(round_flight& f) {
  auto const roster = f.messages[0]->roster();
  std::size_t const n = roster.size();
  float* const coefficients = f.table.host().coefficients;
  f.total_weight = 0;
  for (std::size_t k = 0; k < n; ++k) f.total_weight += f.table.weights()[k];
  if (!non_negative.holds(f.total_weight) ||
      !policies_.coefficients({f.table.weights(), n}, {coefficients, n})) {
    return fail(f, cause::bad_setting,
                say({name_of(f), ": the workers' weights (tokens) add up to ", f.total_weight,
                     "; there is nothing to take the mean of (count steps with step or after_step)"}));
  }
  // A linear rule is a mean, or less: what it makes of contributions within their bound is within the bound.
  double share = 0;
  for (std::size_t k = 0; k < n; ++k) share += std::fabs(static_cast<double>(coefficients[k]));
  if (!(share <= 1.001)) {
    return fail(
        f, cause::bad_setting,
        say({name_of(f), ": the coefficients of ", facts_.combine, " add up to ", share,
             " in magnitude, and 1 is the most; put a larger factor into the outer ", "learning rate"}));
  }
  for (std::size_t k = 0; k < n; ++k) {
    // The shared estimate is the plain mean of all estimates, so each increment counts by 1/K in every round.
    // A share that depended on who is idle would leave the column off by the difference for ever (EF21-PP,
    // Fatkhullin et al. 2021).
    if (facts_.counts_idle)
      coefficients[k] = coefficients[k] > 0 ? 1.0f / static_cast<float>(over_.size()) : 0.0f;
    if (roster[k] == over_.rank()) f.counted = coefficients[k] != 0;
  }
  f.table.upload_round(where_);
  return {};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
