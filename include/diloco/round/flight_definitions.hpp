// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/flight.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE round_flight::round_flight(std::size_t index, transport_link const& over,
                                                   leg_list const& legs, wire_plan p,
                                                   wire_plan const* of_combined, std::size_t rows)
    : fragment(index),
      plan(std::move(p)),
      table(over.memory(), plan, rows, legs.contributors(over.size()) + 1) {
  if (of_combined != nullptr) combined = *of_combined;
  auto const shards = static_cast<std::size_t>(plan.shards());
  // A pair reads its own message where it was written.
  auto const inbox =
      static_cast<std::size_t>(legs.pairs() ? legs.contributors(over.size()) - 1 : over.size());
  std::size_t largest = 0, forwarded = 0;
  for (leg const& l : legs) {
    std::size_t const slot = plan_of(l).slot_bytes();
    auto const heard =
        legs.group == 0 ? inbox : static_cast<std::size_t>(legs.members(l, over.rank(), over.size()).count);
    if (l.sends == content::forwarded) {
      std::size_t const bytes = sizeof(message_header) + forwarded * slot;
      messages.push_back(over.slot(bytes, heard * bytes));
      continue;
    }
    messages.push_back(over.slot((l.sends == content::own ? shards : 1) * slot, heard * slot));
    largest = slot > largest ? slot : largest;
    forwarded = heard;
  }
  if (over.size() == 1) return;
  vote = over.slot(vote_bytes, inbox * vote_bytes);
  auto const world = static_cast<std::size_t>(over.size()), most = shards > world ? shards : world;
  sums = over.memory().allocate(most * checksum_parts(largest) * sizeof(checksum));
}

DILOCO_COLD DILOCO_CORE std::vector<std::shared_ptr<round_flight>> make_flights(
    transport_link const& over, leg_list const& legs, std::vector<wire_plan> const& plans,
    std::vector<wire_plan> const& combined, std::size_t rows) {
  std::vector<std::shared_ptr<round_flight>> flights;
  for (std::size_t i = 0; i < plans.size(); ++i)
    flights.push_back(std::make_shared<round_flight>(i, over, legs, plans[i],
                                                     combined.empty() ? nullptr : &combined[i], rows));
  return flights;
}

DILOCO_CORE std::size_t round_flight::message_bytes() const {
  std::size_t sum = sums.size() + (vote == nullptr ? 0 : vote->bytes());
  for (auto const& m : messages) sum += m->bytes();
  return sum;
}

DILOCO_CORE void round_flight::drop() {
  dropped = true;
  messages[0]->finish({});
}

DILOCO_CORE void round_flight::finish_one(deadline limit) {
  auto const [slot, needed] = unfinished.back();
  unfinished.pop_back();
  slot->finish(needed ? std::optional(limit) : std::nullopt);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
