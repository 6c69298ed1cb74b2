// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/traffic.hpp>
#include <diloco/trainer/parts.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// What one rank reads in a round, in messages of the whole model, and how it combines.
struct messages_read {
  double first = 1;      ///< messages of the first leg
  double last = 1;       ///< messages that pass B reads
  int sharers = 0;       ///< ranks that combine a shard each; 0: none does
  double forwarded = 0;  ///< messages that are copied for the group

  messages_read(leg_list const& legs, int ranks) {
    if (!legs.shards()) {
      first = last = legs.contributors(ranks);
    } else {
      sharers = legs.shard_count(ranks);
      if (legs.group != 0) last = static_cast<double>(ranks) / legs.group, forwarded = last / legs.group;
    }
  }
};

/// Bytes per parameter that a round of k ranks moves through this rank's memory. `payload`: of what it says;
/// `back`: of what was combined.
template <class R>
DILOCO_COLD double round_bytes(layout const& l, double payload, double back, double planes, int k,
                               messages_read const& read) {
  using C = typename R::compressor_type;
  using Back = second_compressor<typename R::exchange_type, C>;
  using Feedback = typename R::feedback_type;
  bool const owns = read.sharers != 0;
  double const owner = owns ? 1 + 1.0 / read.sharers : 0;
  double round =
      encode_bytes<C, Feedback> + apply_outer_bytes<Back, typename R::outer_type, Feedback>(read.last);
  // A gradient is read in place of θ and θ̄, and θ alone is stepped. A signal's column is read and written.
  if (says_gradient<typename R::signal_type>)
    round -= 8.0 - 8.0 * static_cast<double>(signal_slots<typename R::signal_type>);
  if (owns) round += combine_bytes<C, Feedback, Back>(read.sharers);
  // Checksums read each message once at its sender and once at each reader, auxiliary planes included. What
  // is forwarded is read twice, and copied.
  if (k != 1) {
    round += (payload + 4.0 * planes) * (1 + read.first);
    if (owns) round += (back + 4.0 * planes) * (read.last + 1.0 / read.sharers + 3 * read.forwarded);
  }
  // The caller's copy of θ is written, and read back unless it shows samples.
  round += (inner_state<typename R::inner_type>::has_samples ? 2.0 : 8.0) *
           static_cast<double>(l.copied_elements()) / static_cast<double>(l.parameters());
  // Auxiliary planes are written and read at either end, and once more by their owner.
  round += 4.0 * planes * (3 + read.last + owner);
  if constexpr (staged_compressor<C>) {
    // What is sent once for a tensor is in no constant of the type. It is read for the sum, and once more
    // where the next memory is made of it.
    double const times = agrees_on_memory<C> ? 2 * read.last : read.last;
    round += (payload - wire_bytes_per_parameter<C>)*(1 + times + owner);
  }
  return round;
}

}  // namespace detail

/// What a round says, and in how many bits.
template <class R>
DILOCO_COLD std::string trainer_parts<R>::describe_messages(double payload) const {
  double const bits = staged_compressor<C> ? 8.0 * payload : wire_bits<C>;
  bool const keeps = passes<R>::has_residual || (legs_.count > 1 && passes<R>::owner_has_residual);
  constexpr float smallest = C::smallest > Back::smallest ? C::smallest : Back::smallest;
  std::string sent = say({C::name, " (", three_digits(bits), " bit)"});
  if constexpr (recodes<typename R::exchange_type>)
    sent += say({legs_.group == 0 ? ", back by " : ", across by ", Back::name, " (",
                 three_digits(wire_bits<Back>), " bit)"});
  if (keeps) sent += say({" + ", R::feedback_type::name});
  if (smallest > 1e-20f)
    sent += say({" · below ", three_digits(double{smallest}), " lost in part",
                 keeps ? " and kept in the residual" : ""});
  if (recipe().inner_at_sync == at_sync::average) sent += " + inner state (32 bit each)";
  if (carries_anchor) sent += " + anchor (32 bit)";
  if (weighs_elements) sent += " + weights (32 bit)";
  return of_gradient ? say({R::signal_type::name, " by ", sent}) : sent;
}

/// Between whom messages go.
template <class R>
DILOCO_COLD std::string trainer_parts<R>::describe_legs() const {
  std::string const who = say({legs_.name, " over ", Transport::name, "×", over_.size()});
  if (legs_.group == 0) return who;
  auto const far = static_cast<double>(core.rounds->bytes_between_groups());
  return say({who, " in groups of ", legs_.group, " (", bytes_text(far), " per round between them)"});
}

template <class R>
DILOCO_COLD std::string trainer_parts<R>::describe() const {
  double payload = 0, back = 0;
  auto const n = static_cast<double>(core.model.parameters());
  for (auto const& f : core.rounds->flights()) {
    payload += static_cast<double>(f->plan.payload_bytes()) / n;
    back += static_cast<double>(f->plan_of(*(legs_.end() - 1)).payload_bytes()) / n;
  }
  double const round =
      detail::round_bytes<R>(core.model, payload, back, static_cast<double>(planes_of(recipe())),
                             over_.size(), detail::messages_read(legs_, over_.size()));
  std::string when = recipe().schedule.describe();
  if (!std::is_same_v<typename R::rate_type, constant_rate>) when += say({" · ", R::rate_type::name});
  if (core.intake->clips()) when += say({" · clipped at ", recipe().clip_norm});
  if (recipe().inner_at_sync == at_sync::reset) when += " · inner state reset";
  if (over_.size() != 1) {
    when +=
        say({" · sends ", bytes_text(static_cast<double>(core.rounds->largest_sent_bytes())), " at once"});
    double const rate =
        recipe().schedule.rounds_per_step() / static_cast<double>(core.rounds->flights().size());
    if (rate != 0)
      when += say({", ", bytes_text(static_cast<double>(core.rounds->sent_bytes()) * rate), " per step"});
  }
  return say({Inner::name, " → ", Outer::name, " · ", describe_messages(payload), " · ", describe_legs(),
              " · ", when, " · state ", three_digits(memory().state_bytes_per_parameter()),
              " B/param · round ", three_digits(round), " B/param"});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
