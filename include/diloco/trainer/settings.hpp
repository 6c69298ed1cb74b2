// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/exchange.hpp>
#include <diloco/core/field.hpp>
#include <diloco/inner/inner_state.hpp>
#include <diloco/recipe.hpp>
#include <diloco/wire/contract.hpp>

#include <algorithm>
#include <initializer_list>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The policies that ranks compare, in the order of policy_roles.
template <class R>
DILOCO_COLD listed_policies list_policies(R const& r) {
  return {list_policy(r.inner),    list_policy(r.outer),   list_policy(r.compressor),
          list_policy(r.feedback), list_policy(r.combine), list_policy(r.exchange),
          list_policy(r.schedule), list_policy(r.rate),    list_policy(r.signal)};
}

/// Of the recipe's plain numbers, and of settings that would do nothing.
template <class R>
DILOCO_COLD std::string recipe_error(R const& r) {
  using inner = typename R::inner_type;
  using state = inner_state<inner>;
  constexpr bool steps_inside = !external_optimizer<inner>;
  if (!positive.holds(static_cast<double>(r.clip_norm)))
    return say({"diloco: clip_norm = ", r.clip_norm, " ", range_text(positive)});
  if (!steps_inside && r.clip_norm < no_clipping)
    return "diloco: clip_norm: the framework steps by itself and must clip by itself; say no_clipping";
  if (r.inner_at_sync != at_sync::keep && r.inner_at_sync != at_sync::reset &&
      r.inner_at_sync != at_sync::average)
    return say({"diloco: inner_at_sync = ", static_cast<int>(r.inner_at_sync),
                " is none of keep, reset and average"});
  if (r.inner_at_sync != at_sync::keep && state::planes == 0 && !state::has_memory)
    return say({"diloco: inner_at_sync: ", inner::name, " keeps no state here; say at_sync::keep"});
  if (r.inner_at_sync == at_sync::average && state::has_memory)
    return say({"diloco: inner_at_sync: ", inner::name,
                " keeps state of whole tensors, which has no mean; say at_sync::keep or at_sync::reset"});
  if constexpr (elementwise_combine<typename R::combine_type>) {
    std::string found;
    for_each_group(r.inner, [&](auto const& o, auto) {
      if constexpr (has_prior<std::remove_cvref_t<decltype(o)>>) {
        if (found.empty() && !(std::fabs(o.prior() - r.combine.prior) <= 1e-5f * o.prior()))
          found = say({"diloco: combine: ", r.combine.name, ": prior = ", r.combine.prior, " must be the ",
                       o.prior(), " that ", o.name, " adds to ", r.combine.weighs_by});
      }
    });
    if (!found.empty()) return found;
  }
  if (!steps_inside && r.bf16_rounding == rounding::stochastic)
    return "diloco: bf16_rounding: the framework writes the tensors by itself; say rounding::nearest";
  return {};
}

/// Whether the engine can walk these legs.
inline bool is_known(leg_list const& legs) {
  using enum content;
  using enum span_of_leg;
  auto const are = [&](std::initializer_list<leg> expected, bool groups) {
    return std::equal(legs.begin(), legs.end(), expected.begin(), expected.end()) &&
           groups == (legs.group != 0);
  };
  leg const scatter{operation::all_to_all}, back{operation::all_gather, combined};
  return are({leg{operation::all_gather}}, false) || are({leg{operation::pair}}, false) ||
         are({scatter, back}, false) ||
         are({{operation::all_to_all, own, group},
              {operation::all_gather, combined, across},
              {operation::all_gather, forwarded, group}},
             true);
}

/// Of the legs that an exchange gives for this number of ranks.
template <class R>
DILOCO_COLD std::string legs_error(R const& r) {
  using Exchange = typename R::exchange_type;
  int const ranks = r.transport.size();
  leg_list const legs = r.exchange.legs(ranks);
  if (legs.pairs() != pairing_exchange<Exchange>)
    return say({"diloco: exchange ", r.exchange.name,
                ": pairs ranks if and only if it has int partner(round, rank, ranks) const"});
  if (legs.group != 0 && !grouping_exchange<Exchange>)
    return say({"diloco: exchange ", r.exchange.name, ": has groups if and only if it has int group"});
  if (legs.group < 0 || (legs.group != 0 && ranks % legs.group != 0))
    return say({"diloco: exchange ", r.exchange.name, ": groups of ", legs.group, " do not divide ", ranks,
                ranks == 1 ? " rank" : " ranks", "; take a divisor"});
  if (is_known(legs)) return {};
  return say({"diloco: exchange ", r.exchange.name,
              ": its legs are neither one all_gather, nor one pair, nor an all_to_all and an all_gather of "
              "what was combined, nor these two within groups and across them and an all_gather in the group "
              "that forwards"});
}

/// A rule that sees each contribution holds a block of each at once.
template <class R>
DILOCO_COLD std::string contributors_error(R const& r) {
  if (!sees_each<typename R::combine_type> || r.transport.size() <= max_seen_contributors) return {};
  return say({"diloco: combine: ", r.combine.name, " sees each contribution, at most ", max_seen_contributors,
              " of them, and there are ", r.transport.size(), " ranks"});
}

/// Of what cannot be done to one part of the model yet.
template <class R>
DILOCO_COLD std::string fragments_error(R const& r) {
  int const n = r.schedule.fragments();
  if (n == 1) return {};
  auto const with = [&](std::string_view what) {
    return say({"diloco: schedule: ", n, " fragments with ", what, "; say one fragment"});
  };
  if (n < 1 || n > max_fragments)
    return say({"diloco: schedule: ", n, " fragments; there must be 1 to ", max_fragments});
  if (r.inner_at_sync != at_sync::keep) return with("an inner state that is reset or averaged in each round");
  if (r.exchange.legs(r.transport.size()).pairs()) return with("ranks that meet in pairs");
  return {};
}

/// Of a schedule that counts a rank's own message when it is launched.
template <class R>
DILOCO_COLD std::string eager_error(R const& r) {
  if (!R::schedule_type::traits.eager) return {};
  auto const with = [&](std::string_view what) {
    return say({"diloco: schedule ", r.schedule.name, ": ", what});
  };
  if (r.schedule.fragments() != 1) return with("is eager and must have one fragment");
  leg_list const legs = r.exchange.legs(r.transport.size());
  if (legs.count != 1)
    return with(
        say({"is eager, so each rank must hear every message as it was sent, and exchange ", r.exchange.name,
             " takes ", legs.name, " for ", r.transport.size(), " ranks; say .exchange = diloco::gather{}"}));
  if (r.inner_at_sync == at_sync::average)
    return with("is eager and averages no inner state; say at_sync::keep or at_sync::reset");
  return {};
}

/// A gradient that no round sends would be lost.
template <class R>
DILOCO_COLD std::string gradient_rounds_error(R const& r) {
  if constexpr (says_gradient<typename R::signal_type>) {
    int const n = r.schedule.fragments();
    for (std::uint64_t step = 1; step <= 64; ++step) {
      int launches = 0, landings = 0;
      action_list const actions = r.schedule.after(step);
      for (action const& a : actions) (a.what == action::launch ? launches : landings) += 1;
      if (launches != n || landings != n)
        return say(
            {"diloco: schedule ", r.schedule.name, ": the signal ", r.signal.name,
             " is the gradient of one step, so each step must launch and land all fragments; say every(1)"});
    }
  }
  return {};
}

/// The first setting that makes no sense, or an empty text.
template <class R>
DILOCO_COLD std::string settings_error(R const& r) {
  std::string found = policies_error(list_policies(r));
  if (found.empty()) found = recipe_error(r);
  if (found.empty() && !(r.deadline_seconds > 0 && r.deadline_seconds < 1e9)) {
    found = say({"diloco: deadline_seconds = ", r.deadline_seconds, " must be in (0, 1e9)"});
  }
  if (found.empty()) found = legs_error(r);
  if (found.empty()) found = contributors_error(r);
  if (found.empty()) found = fragments_error(r);
  if (found.empty()) found = gradient_rounds_error(r);
  if (found.empty()) found = eager_error(r);
  return found;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
