// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/hash.hpp>
#include <diloco/round/rounds.hpp>

// What decides whether a round stands: message headers, weights, and one vote. Nothing else reads headers.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Lists messages for the kernels to come. Votes are listed apart, because kernels read the messages after
/// them. Waits.
DILOCO_COLD DILOCO_CORE void round_machine::list_messages(round_flight& f, exchange_slot const& m,
                                                          bool votes) const {
  where_.wait();  // until then the upload of the launch may read the same memory
  std::byte const** const host = votes ? f.table.host().votes : f.table.host().messages;
  for (std::size_t k = 0; k < m.roster().size(); ++k) host[k] = m.message(static_cast<int>(k)).data();
}

/// Lists the messages that a leg forwarded, by shard and then by group. Waits.
DILOCO_COLD DILOCO_CORE void round_machine::list_forwarded(round_flight& f, std::size_t leg) const {
  where_.wait();
  exchange_slot const& m = *f.messages[leg];
  std::size_t const slot = f.plan_of(facts_.legs.legs[leg]).slot_bytes(), groups = group_count();
  for (std::size_t k = 0; k < m.roster().size() * groups; ++k)
    f.table.host().messages[k] =
        m.message(static_cast<int>(k / groups)).data() + sizeof(message_header) + k % groups * slot;
}

/// Brings the headers and checksums of the `n` messages that are listed to the host. Votes have several
/// copies of a header. `slot_bytes`: of a message, or of its header where nothing behind it counts. Waits.
DILOCO_COLD DILOCO_CORE void round_machine::collect_headers(round_flight& f, std::size_t n,
                                                            std::size_t slot_bytes, bool votes) const {
  std::size_t const copies = votes ? vote_copies : 1;
  std::size_t const parts = slot_bytes == sizeof(message_header) ? 0 : f.checksum_parts(slot_bytes);
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
  diloco::leg const& l = facts_.legs.legs[leg];
  auto const roster = f.messages[leg]->roster();
  bool const forwards = l.sends == content::forwarded;
  std::size_t const slot = f.plan_of(l).slot_bytes();
  list_messages(f, *f.messages[leg], false);
  collect_headers(f, roster.size(), forwards ? sizeof(message_header) : slot, false);
  if (brings_weights(leg)) f.agreed_steps = 0;
  hash64 history;
  history.add(fragments_[f.fragment].history);
  history.add(f.number);
  for (std::size_t k = 0; k < roster.size(); ++k) {
    if (auto fine = read_header(f, k, roster[k], leg); !fine) return fine;
    history.add(static_cast<std::uint64_t>(roster[k]));
    history.add(f.table.headers()[k].checksum);
  }
  f.history = history.value();
  return forwards ? read_forwarded(f, leg) : result<>{};
}

/// Each forwarded message is checked against the header of the rank that made it. All ranks read the same.
DILOCO_COLD DILOCO_CORE result<> round_machine::read_forwarded(round_flight& f, std::size_t leg) {
  std::size_t const groups = group_count(), n = f.messages[leg]->roster().size() * groups;
  wire_plan const& plan = f.plan_of(facts_.legs.legs[leg]);
  list_forwarded(f, leg);
  collect_headers(f, n, plan.slot_bytes(), false);
  hash64 history;
  history.add(fragments_[f.fragment].history);
  history.add(f.number);
  for (std::size_t k = 0; k < n; ++k) {
    int const shard = static_cast<int>(k / groups),
              from = shard + static_cast<int>(k % groups) * facts_.legs.group;
    message_header const expected =
        own_header(f, static_cast<std::uint16_t>(leg - 1), plan[shard].payload_bytes);
    message_header const got = f.table.headers()[k];
    if (auto fine = detail::check_header(got, f.table.checksums()[k], expected, from, false); !fine)
      return fine;
    history.add(static_cast<std::uint64_t>(from));
    history.add(got.checksum);
  }
  f.history = history.value();
  return {};
}

/// What the message of a rank must say in a leg. `k`: its place in the roster.
DILOCO_COLD DILOCO_CORE message_header round_machine::expected_header(round_flight const& f, std::size_t k,
                                                                      std::size_t leg) const {
  diloco::leg const& l = facts_.legs.legs[leg];
  if (l.sends == content::forwarded) return forwarding_header(f, leg);
  // A message brings this rank's shard, or that of its sender where each combined another one.
  bool const of_sender = l.sends == content::combined && l.over == span_of_leg::world;
  int const shard = of_sender ? static_cast<int>(k) : facts_.legs.shards() ? own_shard() : 0;
  return own_header(f, static_cast<std::uint16_t>(leg), f.plan_of(l)[shard].payload_bytes);
}

/// The header of message k, from rank `from`.
DILOCO_COLD DILOCO_CORE result<> round_machine::read_header(round_flight& f, std::size_t k, int from,
                                                            std::size_t leg) {
  message_header const got = f.table.headers()[k], expected = expected_header(f, k, leg);
  f.culprit = 0;
  if (auto fine = detail::check_header(got, f.table.checksums()[k], expected, from, facts_.legs.pairs());
      !fine) {
    if (got.refused != 0 && fine.error().what != cause::corrupted)
      f.culprit = got.culprit != 0 ? got.culprit : 1 + static_cast<std::uint32_t>(from);
    return fine;
  }
  f.culprit = 1 + static_cast<std::uint32_t>(from);
  if ((got.flags & message_header::stood_still) != 0) {
    return fail(
        f, cause::wrong_state,
        say({name_of(f), ": rank ", from, " counted steps, and no element of its tensors differs ",
             "from the anchor; if its framework steps other memory than the trainer was given, call ",
             "rebind(parameters); a step that changes nothing is skip_step(); the round is dropped"}));
  }
  if (brings_weights(leg)) {
    f.table.weights()[k] = got.weight;
    if (got.weight > 0 && got.steps > f.agreed_steps) f.agreed_steps = got.steps;
  }
  if (got.bad_row != message_header::no_row) return unsendable(f, got, from, static_cast<std::uint16_t>(leg));
  f.culprit = 0;
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
  } else if (auto votes = receive(f, *f.vote, f.messages.size()); !votes) {
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
  mine.culprit = refused != 0 ? f.culprit : 0;
  mine.history = f.history;
  std::fill_n(f.table.host().own_headers, vote_copies, mine);
  write_headers(f, f.vote->to_send(), vote_copies, sizeof(message_header), false);
  f.vote->start(facts_.legs.pairs() ? operation::pair : operation::all_gather, {f.partner, {}},
                tag_of(f, detail::vote_phase));
}

/// `knows`: this rank could read all messages, so it knows what the others must have read. Of several that
/// refuse, the one counts that ends the run.
DILOCO_COLD DILOCO_CORE result<> round_machine::count_votes(round_flight& f, bool knows) {
  list_messages(f, *f.vote, true);
  collect_headers(f, f.vote->roster().size(), sizeof(message_header), true);
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

/// Coefficients of what the next kernels read.
DILOCO_COLD DILOCO_CORE result<> round_machine::weigh(round_flight& f, std::size_t leg) {
  if (leg == 0) f.group_counted = true;
  if (brings_weights(leg)) {
    if (auto fine = weigh_contributions(f, leg); !fine) return fine;
  } else if (facts_.legs.legs[leg].sends == content::combined) {
    f.table.host().coefficients[0] = 1.0f;  // one message per shard
  }
  f.table.upload_round(where_);
  return {};
}

/// Coefficients of the mean, and whether this rank's contribution is in it. Groups are weighed like ranks:
/// each has the weight of its ranks together, and one that is idle has none.
DILOCO_COLD DILOCO_CORE result<> round_machine::weigh_contributions(round_flight& f, std::size_t leg) {
  auto const roster = f.messages[leg]->roster();
  std::size_t const n = roster.size();
  float* const coefficients = f.table.host().coefficients;
  bool const in_group = facts_.legs.legs[leg].over == span_of_leg::group;
  double total = 0;
  for (std::size_t k = 0; k < n; ++k) total += f.table.weights()[k];
  (in_group ? f.group_weight : f.total_weight) = total;
  if (in_group && total == 0) {
    std::fill_n(coefficients, n, 0.0f);
  } else if (!non_negative.holds(total) ||
             !policies_.coefficients({f.table.weights(), n}, {coefficients, n})) {
    return fail(f, cause::bad_setting,
                say({name_of(f), ": the workers' weights (tokens) add up to ", total,
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
    if (facts_.counts_idle) coefficients[k] = coefficients[k] > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
    if (roster[k] != over_.rank()) continue;
    bool const counts = coefficients[k] != 0;
    if (leg == 0) f.counted = counts;
    if (leg != 0) f.group_counted = counts, f.counted = f.counted && counts;
  }
  return {};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
