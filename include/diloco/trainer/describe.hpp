// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/traffic.hpp>
#include <diloco/trainer/parts.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Bytes per parameter that a round of k ranks moves through this rank's memory. `owns`: a shard, under
/// scatter-gather; `heard`: contributions that it reads at first; `back`: payload of
/// what was combined.
template <class R>
DILOCO_COLD double round_bytes(layout const& l, double payload, double back, double planes, bool owns, int k,
                               int heard) {
  using C = typename R::compressor_type;
  using Back = second_compressor<typename R::exchange_type, C>;
  using Feedback = typename R::feedback_type;
  double const messages = owns ? 1 : heard, owner = owns ? 1 + 1.0 / k : 0;
  double round =
      encode_bytes<C, Feedback> + apply_outer_bytes<Back, typename R::outer_type, Feedback>(messages);
  // A gradient is read in place of θ and θ̄, and θ alone is stepped. A signal's column is read and written.
  if (says_gradient<typename R::signal_type>)
    round -= 8.0 - 8.0 * static_cast<double>(signal_slots<typename R::signal_type>);
  if (owns) round += combine_bytes<C, Feedback, Back>(k);
  // Checksums read each message once at its sender and once at each reader, auxiliary planes included.
  if (k != 1) {
    round += (payload + 4.0 * planes) * (1 + (owns ? 1 : heard));
    if (owns) round += (back + 4.0 * planes) * (1 + 1.0 / k);
  }
  // The caller's copy of θ is written, and read back unless it shows samples.
  round += (inner_state<typename R::inner_type>::has_samples ? 2.0 : 8.0) *
           static_cast<double>(l.copied_elements()) / static_cast<double>(l.parameters());
  // Auxiliary planes are written and read at either end, and once more by their owner.
  round += 4.0 * planes * (3 + messages + owner);
  if constexpr (staged_compressor<C>) {
    // What is sent once for a tensor is in no constant of the type. It is read for the sum, and once more
    // where the next memory is made of it.
    double const times = agrees_on_memory<C> ? 2 * messages : messages;
    round += (payload - wire_bytes_per_parameter<C>)*(1 + times + owner);
  }
  return round;
}

}  // namespace detail

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
                             legs_.count > 1, over_.size(), legs_.contributors(over_.size()));
  double const bits = staged_compressor<C> ? 8.0 * payload : wire_bits<C>;
  bool const keeps = passes<R>::has_residual;
  std::string sent = say({C::name, " (", three_digits(bits), " bit)"});
  if constexpr (recodes<typename R::exchange_type>)
    sent += say({", back by ", Back::name, " (", three_digits(wire_bits<Back>), " bit)"});
  if (keeps) sent += say({" + ", R::feedback_type::name});
  if (C::smallest > 1e-20f)
    sent += say({" · below ", three_digits(double{C::smallest}), " lost in part",
                 keeps ? " and kept in the residual" : ""});
  if (recipe().inner_at_sync == at_sync::average) sent += " + inner state (32 bit each)";
  if (carries_anchor) sent += " + anchor (32 bit)";
  if (weighs_elements) sent += " + weights (32 bit)";
  if (of_gradient) sent = say({R::signal_type::name, " by ", sent});
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
  return say({Inner::name, " → ", Outer::name, " · ", sent, " · ", legs_.name, " over ", Transport::name, "×",
              over_.size(), " · ", when, " · state ", three_digits(memory().state_bytes_per_parameter()),
              " B/param · round ", three_digits(round), " B/param"});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
