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

/// Starts the exchange of what was encoded.
DILOCO_COLD DILOCO_CORE result<> round_machine::send(round_flight& f, bool must_move) {
  for (int s = 0; s < f.plan.shards(); ++s)
    f.table.host().own_headers[s] = own_header(f, 0, f.plan[s].payload_bytes);
  auto const sent = ask(f, "an exchange", [&] {
    write_headers(f, f.sent, static_cast<std::size_t>(f.plan.shards()), f.plan.slot_bytes(), must_move);
    f.messages[0]->start(facts_.legs.legs[0].how, f.partner, tag_of(f, 0));
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

/// Peers have read the messages of the round before.
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

/// Before the payloads. Where θ must have moved, every rank hears if it did not. Enqueues.
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

/// `refused`: as in a message header.
DILOCO_COLD DILOCO_CORE void round_machine::send_share(round_flight& f, std::size_t leg,
                                                       std::uint32_t refused) {
  wire_plan const& plan = f.plan_of(facts_.legs.legs[leg]);
  std::size_t const payload = plan[over_.rank()].payload_bytes;
  f.table.host().own_headers[0] = own_header(f, static_cast<std::uint16_t>(leg), payload);
  f.table.host().own_headers[0].refused = refused;
  write_headers(f, f.messages[leg]->to_send(), 1, plan.slot_bytes(), false);
  f.messages[leg]->start(facts_.legs.legs[leg].how, f.partner, tag_of(f, static_cast<std::uint32_t>(leg)));
}

DILOCO_COLD DILOCO_CORE auxiliary_planes round_machine::auxiliary(round_flight const& f,
                                                                  wire_plan const& plan,
                                                                  std::size_t first_tile) const {
  return {lookup_->tiles + first_tile, f.table->auxiliary_from, f.table->auxiliary_to,
          f.table->shard_columns,      plan.planes(),           plan.planes_offset(),
          plan.planes_stride()};
}

/// Into the columns, or for the owner of a shard into the slot that it sends on.
DILOCO_COLD DILOCO_CORE void round_machine::average_auxiliary(round_flight const& f, int contributors,
                                                              bool sharded, std::byte* to_slot,
                                                              float mix) const {
  if (f.plan.planes() == 0) return;
  layout::fragment const& all = f.plan.fragment();
  bool const own = to_slot != nullptr;
  wire_plan const &last = f.plan_of(*(facts_.legs.end() - 1)), &from = own ? f.plan : last;
  // The kernel finds the planes where those of `from` lie.
  if (own) to_slot = to_slot + last.planes_offset() - from.planes_offset();
  std::size_t const first = own ? f.plan[over_.rank()].first_tile : all.first_tile;
  where_.for_each(own ? f.plan[over_.rank()].tiles : all.tiles,
                  average_planes_kernel{auxiliary(f, from, first), f.table->messages, f.table->coefficients,
                                        contributors, sharded, to_slot, mix});
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::sent_bytes(round_flight const& f, bool to_nobody) const {
  auto const peers = static_cast<std::size_t>(facts_.legs.pairs() ? (to_nobody ? 0 : 1) : over_.size() - 1);
  std::size_t bytes = vote_bytes;
  for (leg const& l : facts_.legs) bytes += f.plan_of(l).slot_bytes();
  return peers * bytes;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::sent_bytes() const {
  std::size_t sum = 0;
  for (auto const& f : flights_) sum += sent_bytes(*f, over_.size() == 1);
  return sum;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::largest_sent_bytes() const {
  std::size_t most = 0;
  for (auto const& f : flights_) {
    std::size_t const sent = sent_bytes(*f, over_.size() == 1);
    most = sent > most ? sent : most;
  }
  return most;
}

DILOCO_COLD DILOCO_CORE std::size_t round_machine::table_bytes() const {
  std::size_t sum = 0;
  for (auto const& f : flights_) sum += f->table.bytes();
  return sum;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
