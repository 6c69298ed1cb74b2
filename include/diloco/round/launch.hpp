// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/rounds.hpp>

// The half of a round that sends: encode, write headers, start the exchange.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE result<> round_machine::usable() const {
  if (auto fine = run_.usable(); !fine) return fine;
  for (auto const& f : flights_) {
    if (f->dropped)
      return fail(
          *f, cause::wrong_state,
          say({"this trainer cannot go on: the flight of ", name_of(*f), " was dropped before it landed"}));
  }
  return {};
}

DILOCO_COLD DILOCO_CORE bool round_machine::any_open() const {
  for (auto const& f : flights_) {
    if (f->open) return true;
  }
  return false;
}

DILOCO_COLD DILOCO_CORE double round_machine::largest_weight() const {
  double most = 0;
  for (fragment_progress const& p : fragments_) most = p.weight > most ? p.weight : most;
  return most;
}

DILOCO_COLD DILOCO_CORE result<> round_machine::all_landed(std::string_view call) const {
  for (auto const& f : flights_) {
    if (f->open)
      return fail(*f, cause::wrong_state,
                  f->by_hand ? say({call, ": ", name_of(*f), " is under way; land it first"})
                             : say({call, ": ", name_of(*f), by_schedule}));
  }
  return {};
}

DILOCO_COLD DILOCO_CORE result<> round_machine::may_launch(std::size_t fragment) const {
  if (auto fine = usable(); !fine) return fine;
  round_flight const& f = *flights_[fragment];
  if (f.open)
    return fail(f, cause::wrong_state, say({"launch: ", name_of(f), " is under way; land it first"}));
  return run_.shows_training_point("launch");
}

DILOCO_COLD DILOCO_CORE result<> round_machine::launch(std::size_t fragment, bool by_hand) {
  if (auto fine = may_launch(fragment); !fine) return fine;
  std::uint64_t const round = run_.current_round = fragments_[fragment].round;
  int meets = 0;
  if (auto fine = run_.guard("the exchange", [&] { meets = policies_.partner(round); }); !fine) return fine;
  if (meets < 0 || meets >= over_.size()) {
    return run_.fail(cause::bad_setting, say({"launch: in round ", round, " the exchange ", facts_.exchange,
                                              " pairs this rank with rank ", meets, ", which is not there"}));
  }
  return run_.guard("launch", [&] { return encode_and_send(fragment, meets, by_hand); });
}

DILOCO_COLD DILOCO_CORE result<> round_machine::encode_and_send(std::size_t fragment, int partner,
                                                                bool by_hand) {
  round_flight& f = *flights_[fragment];
  fragment_progress& p = fragments_[fragment];
  if (auto fine = take_back(f); !fine) return fine;
  f.number = p.round, f.partner = partner, f.stepped = p.stepped, f.by_hand = by_hand, f.weight = p.weight;
  f.counted_steps = run_.steps, f.steps_taken = run_.steps_taken, f.wait_seconds = 0, f.total_weight = -1;
  f.culprit = 0, f.early = false;
  std::byte* const slots = f.sent = f.messages[0]->to_send();
  policies_.adopt_callers_copy(f);
  policies_.encode(f, slots);
  if (f.plan.planes() != 0)
    where_.for_each(f.plan.fragment().tiles,
                    write_planes_kernel{auxiliary(f, f.plan, f.plan.fragment().first_tile), slots,
                                        f.plan.slot_bytes(), f.table->bad_row});
  if (auto fine = send(f, p.must_move); !fine) return fine;
  f.order = ++launches_;
  p.weight = 0;
  p.stepped = p.must_move = false;
  policies_.tell(round_launched{f.number, run_.steps, f.weight});
  return {};
}

/// Starts the exchange of a leg.
DILOCO_COLD DILOCO_CORE void round_machine::start(round_flight& f, std::size_t leg) {
  diloco::leg const& l = facts_.legs.legs[leg];
  leg_peers with{f.partner, {}};
  if (l.over != span_of_leg::world) with.group = members_of(l);
  f.messages[leg]->start(l.how, with, tag_of(f, static_cast<std::uint32_t>(leg)));
}

/// Starts the exchange of what was encoded.
DILOCO_COLD DILOCO_CORE result<> round_machine::send(round_flight& f, bool must_move) {
  for (int s = 0; s < f.plan.shards(); ++s)
    f.table.host().own_headers[s] = own_header(f, 0, f.plan[s].payload_bytes);
  auto const sent = ask(f, "an exchange", [&] {
    write_headers(f, f.sent, static_cast<std::size_t>(f.plan.shards()), f.plan.slot_bytes(), must_move);
    start(f, 0);
  });
  if (!sent) return run_.ends(sent.error());
  f.open = true;
  return {};
}

DILOCO_CORE void round_machine::progress() {
  for (auto const& f : flights_) {
    if (f->open && !run_.ended())
      static_cast<void>(
          guarded([](cause, std::string_view) { return error{}; }, [&] { f->messages[0]->progress(); }));
  }
}

/// Waits until peers have read this rank's previous messages, then takes the send buffers back. An error
/// ends the run.
DILOCO_COLD DILOCO_CORE result<> round_machine::take_back(round_flight& f) {
  auto const limit = deadline_after(facts_.deadline_seconds);
  auto const back = [&](exchange_slot& s) -> result<> {
    auto fine = ask(f, "reclaim", [&] { return s.take_back(limit); });
    return fine ? std::move(fine) : run_.ends(std::move(fine).error());
  };
  if (auto fine = back(*f.messages[0]); !fine) return fine;
  if (f.vote != nullptr) {
    if (auto fine = back(*f.vote); !fine) return fine;
  }
  for (std::size_t i = 1; i < f.messages.size(); ++i) {
    if (auto fine = back(*f.messages[i]); !fine) return fine;
  }
  return {};
}

DILOCO_COLD DILOCO_CORE message_header round_machine::own_header(round_flight const& f, std::uint16_t phase,
                                                                 std::size_t payload) const {
  std::size_t const fragment = f.fragment;
  message_header h;
  h.phase = phase;
  h.round = f.number;
  h.weight = f.weight;
  h.steps = f.steps_taken;
  h.payload_bytes = payload;
  h.rank = static_cast<std::uint32_t>(run_.rank());
  h.flags = (f.by_hand ? 0 : message_header::by_schedule) | float_modes_here() << message_header::modes_shift;
  h.counted_steps = f.counted_steps;
  h.run = run_number_;
  h.part = static_cast<std::uint32_t>(fragment);
  if (!facts_.legs.pairs() && f.number != 0) h.last_round = f.number - 1;
  h.history = fragments_[fragment].history;
  return h;
}

/// Writes checksums and headers of `count` slots. With `must_move`, the header carries `stood_still` if θ
/// equals the anchor. Enqueues.
DILOCO_COLD DILOCO_CORE void round_machine::write_headers(round_flight& f, std::byte* slots,
                                                          std::size_t count, std::size_t slot_bytes,
                                                          bool must_move) const {
  std::size_t const parts = slot_bytes == sizeof(message_header) ? 0 : f.checksum_parts(slot_bytes);
  f.table.upload_round(where_);
  if (must_move) {
    layout::fragment const& part = f.plan.fragment();
    where_.for_each(part.tiles, find_motion_kernel{lookup_->tiles + part.first_tile, lookup_->theta, anchor_,
                                                   f.table->moved});
  }
  checksum* const sums = f.sums.as<checksum>();
  if (parts != 0) where_.for_each(count * parts, checksum_kernel{slots, nullptr, slot_bytes, parts, sums});
  where_.for_each(1, write_headers_kernel{f.table->own_headers, f.table->bad_row, f.table->moved, must_move,
                                          slots, slot_bytes, count, sums, parts});
}

/// A message of a later leg. `refused`: as in a message header.
DILOCO_COLD DILOCO_CORE void round_machine::send_share(round_flight& f, std::size_t leg,
                                                       std::uint32_t refused) {
  diloco::leg const& l = facts_.legs.legs[leg];
  wire_plan const& plan = f.plan_of(l);
  message_header& mine = f.table.host().own_headers[0];
  bool const forwards = l.sends == content::forwarded;
  mine = forwards ? forwarding_header(f, leg)
                  : own_header(f, static_cast<std::uint16_t>(leg), plan[own_shard()].payload_bytes);
  if (l.over == span_of_leg::across) mine.weight = f.group_weight, mine.steps = f.agreed_steps;
  mine.refused = refused;
  mine.culprit = refused != 0 ? f.culprit : 0;
  // What is forwarded has checksums of its own.
  write_headers(f, f.messages[leg]->to_send(), 1, forwards ? sizeof(message_header) : plan.slot_bytes(),
                false);
  start(f, leg);
}

/// Before the messages that a rank forwards to its group.
DILOCO_COLD DILOCO_CORE message_header round_machine::forwarding_header(round_flight const& f,
                                                                        std::size_t leg) const {
  diloco::leg const &l = facts_.legs.legs[leg], &before = facts_.legs.legs[leg - 1];
  auto const messages = static_cast<std::size_t>(members_of(before).count);
  return own_header(f, static_cast<std::uint16_t>(leg), messages * f.plan_of(l).slot_bytes());
}

/// Copies the messages that were received last behind the header of the leg that forwards them. Enqueues.
DILOCO_COLD DILOCO_CORE void round_machine::forward(round_flight& f, std::size_t leg) const {
  diloco::leg const &l = facts_.legs.legs[leg], &before = facts_.legs.legs[leg - 1];
  copy_messages_kernel const copy{f.table->messages, f.messages[leg]->to_send() + sizeof(message_header),
                                  f.plan_of(l).slot_bytes()};
  where_.for_each(static_cast<std::size_t>(members_of(before).count) * copy.parts(), copy);
}

DILOCO_COLD DILOCO_CORE auxiliary_planes round_machine::auxiliary(round_flight const& f,
                                                                  wire_plan const& plan,
                                                                  std::size_t first_tile) const {
  return {lookup_->tiles + first_tile, f.table->auxiliary_from, f.table->auxiliary_to,
          f.table->shard_columns,      plan.planes(),           plan.planes_offset(),
          plan.planes_stride()};
}

/// Averages auxiliary planes. Writes columns if `to_slot` is null, else the slot that this owner sends next.
DILOCO_COLD DILOCO_CORE void round_machine::average_auxiliary(round_flight const& f, int contributors,
                                                              bool sharded, std::byte* to_slot,
                                                              float mix) const {
  if (f.plan.planes() == 0) return;
  layout::fragment const& all = f.plan.fragment();
  bool const own = to_slot != nullptr;
  wire_plan const &last = f.plan_of(*(facts_.legs.end() - 1)), &from = own ? f.plan : last;
  // The kernel adds the plane offset of `from`; this shifts `to_slot` to the planes of `last`.
  if (own) to_slot = to_slot + last.planes_offset() - from.planes_offset();
  std::size_t const first = own ? f.plan[own_shard()].first_tile : all.first_tile;
  where_.for_each(own ? f.plan[own_shard()].tiles : all.tiles,
                  average_planes_kernel{auxiliary(f, from, first), f.table->messages, f.table->coefficients,
                                        contributors, sharded, to_slot, mix});
}

/// `between_groups`: only what leaves this rank's group.
DILOCO_COLD DILOCO_CORE std::size_t round_machine::sent_bytes(round_flight const& f, bool to_nobody,
                                                              bool between_groups) const {
  auto const world = static_cast<std::size_t>(over_.size()),
             group = static_cast<std::size_t>(facts_.legs.group);
  if (facts_.legs.pairs()) return to_nobody ? 0 : vote_bytes + f.plan.slot_bytes();
  std::size_t bytes = (world - (between_groups ? group : 1)) * vote_bytes;
  for (leg const& l : facts_.legs) {
    if (between_groups && l.over != span_of_leg::across) continue;
    auto const peers = static_cast<std::size_t>(members_of(l).count) - 1;
    std::size_t const slot = f.plan_of(l).slot_bytes();
    bytes += peers * (l.sends == content::forwarded ? sizeof(message_header) + world / group * slot : slot);
  }
  return bytes;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::sent_bytes() const {
  std::size_t sum = 0;
  for (auto const& f : flights_) sum += sent_bytes(*f, over_.size() == 1, false);
  return sum;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::bytes_between_groups() const {
  std::size_t sum = 0;
  for (auto const& f : flights_) sum += facts_.legs.group == 0 ? 0 : sent_bytes(*f, false, true);
  return sum;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::largest_sent_bytes() const {
  std::size_t most = 0;
  for (auto const& f : flights_) {
    std::size_t const sent = sent_bytes(*f, over_.size() == 1, false);
    most = sent > most ? sent : most;
  }
  return most;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::table_bytes() const {
  std::size_t sum = 0;
  for (auto const& f : flights_) sum += f->table.bytes();
  if (next_ != nullptr) sum += next_->table.bytes();
  return sum;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
