// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>

#if DILOCO_EXCEPTIONS
#include <exception>
#endif

// Members of DiLoCo that decide whether it can be constructed: by itself, and together with the peers.

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {
inline constexpr std::size_t term_count = 11;  // of `contract_terms`, whatever the policies

template <class Recipe>
DILOCO_COLD void tell_peers(Recipe& r, std::string_view sentence) noexcept {
  double const seconds = r.deadline_seconds > 0 && r.deadline_seconds < 1e9 ? r.deadline_seconds : 300;
#if DILOCO_EXCEPTIONS
  try {
    refuse(r.transport, r.executor, sentence, term_count, deadline_after(seconds));
  } catch (...) {  // the caller gets its own error, which came first
  }
#else
  refuse(r.transport, r.executor, sentence, term_count, deadline_after(seconds));
#endif
}

/// Of the recipe's plain numbers, and of settings that would do nothing.
template <class Trainer>
DILOCO_COLD std::string plain_complaint(typename Trainer::recipe_type const& r) {
  using inner = std::remove_cvref_t<decltype(r.inner)>;
  using state = inner_state<inner>;
  if (!positive.holds(static_cast<double>(r.clip_norm)))
    return say({"diloco: clip_norm = ", r.clip_norm, " ", range_text(positive)});
  if (!Trainer::steps_inside && r.clip_norm < no_clipping)
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
  if constexpr (Trainer::weighs_elements) {
    std::string found;
    for_each_group(r.inner, [&](auto const& o, auto) {
      if constexpr (requires { o.prior(); }) {
        if (found.empty() && !(std::fabs(o.prior() - r.combine.prior) <= 1e-5f * o.prior()))
          found = say({"diloco: combine: ", r.combine.name, ": prior = ", r.combine.prior, " must be the ",
                       o.prior(), " that ", o.name, " adds to ", r.combine.weighs_by});
      }
    });
    if (!found.empty()) return found;
  }
  if (!Trainer::steps_inside && r.bf16_rounding == rounding::stochastic)
    return "diloco: bf16_rounding: the framework writes the tensors by itself; say rounding::nearest";
  return {};
}

template <class Trainer>
DILOCO_COLD std::string settings_complaint(typename Trainer::recipe_type const& r) {
  std::string complaint;
  auto const check = [&](std::string_view role, auto const& policy) {
    if (complaint.empty()) complaint = field_complaint(role, policy);
  };
  check("inner", r.inner);
  check("outer", r.outer);
  check("compressor", r.compressor);
  check("feedback", r.feedback);
  check("combine", r.combine);
  check("schedule", r.schedule);
  check("rate", r.rate);
  if (complaint.empty()) complaint = plain_complaint<Trainer>(r);
  if (complaint.empty() && !(r.deadline_seconds > 0 && r.deadline_seconds < 1e9)) {
    complaint = say({"diloco: deadline_seconds = ", r.deadline_seconds, " must be in (0, 1e9)"});
  }
  if (complaint.empty() && (r.exchange.pick(r.transport.size()) == pattern::pairs) != Trainer::pairs_ranks) {
    complaint = say({"diloco: exchange ", r.exchange.name,
                     ": picks pairs if and only if it has int partner(round, rank, ranks) const"});
  }
  return complaint;
}
}  // namespace detail

/// All that this rank can find out alone; nothing is sent.
DILOCO_ENGINE
template <class Parameters>
DILOCO_COLD auto DILOCO_CLASS::build(recipe_type& r, Parameters const& parameters) -> result<DiLoCo> {
  int const rank = r.transport.rank();
  if (auto complaint = detail::settings_complaint<DiLoCo>(r); !complaint.empty())
    return error{cause::bad_setting, rank, 0, std::move(complaint)};
  float_modes_seen const modes = float_modes_on(r.executor);
  if (auto complaint = modes.complaint(Executor::name); !complaint.empty())
    return error{cause::bad_setting, rank, 0, std::move(complaint)};
  auto l = layout::of(parameters, Compressor::block, is_staged, residual_padding, group_count_of<Inner>,
                      group_roles<Inner>{r.inner});
  if (!l) return error{l.error().what, rank, 0, l.error().message};
  if (auto complaint = inner_state<Inner>::complaint(r.inner, *l); !complaint.empty())
    return error{cause::bad_layout, rank, 0, std::move(complaint)};
  DiLoCo trainer(r, std::move(*l), modes.all);
  if (auto fine = trainer.start(); !fine) return std::move(fine).error();
  trainer.lent_.keep();
  return trainer;
}

/// Likewise; peers hear at once of what goes wrong here, and do not wait for their deadline.
DILOCO_ENGINE
template <class Parameters>
DILOCO_COLD auto DILOCO_CLASS::build_or_tell(recipe_type& r, Parameters const& parameters) -> result<DiLoCo> {
  auto const attempt = [&]() -> result<DiLoCo> {
    auto built = build(r, parameters);
    if (!built) detail::tell_peers(r, built.error().message);
    return built;
  };
#if DILOCO_EXCEPTIONS
  try {
    return attempt();
  } catch (std::exception const& e) {
    detail::tell_peers(r, say({"its construction threw: ", e.what()}));
    throw;
  } catch (...) {
    detail::tell_peers(r, "its construction threw an exception of unknown type");
    throw;
  }
#else
  return attempt();
#endif
}

/// What must be equal on all ranks and does not depend on how many tensors there are: `term_count` of them.
DILOCO_ENGINE
DILOCO_COLD std::vector<contract_term> DILOCO_CLASS::contract_terms() const {
  constexpr std::array<std::string_view, 3> at_sync{"keep", "reset", "average"};
  constexpr std::array<std::string_view, 2> rounds{"nearest", "stochastic"};
  std::vector<contract_term> terms{build_term(float_modes_),
                                   term_of("inner optimizer", recipe_.inner),
                                   term_of("outer optimizer", recipe_.outer),
                                   term_of("compressor", recipe_.compressor),
                                   term_of("feedback", recipe_.feedback),
                                   term_of("combine rule", recipe_.combine),
                                   term_of("exchange", recipe_.exchange),
                                   term_of("schedule", recipe_.schedule),
                                   term_of("learning rate", recipe_.rate)};
  terms[6].fields.push_back({"pattern of the exchange", std::string(name_of(pattern_))});
  terms.push_back({"recipe",
                   {{"clip_norm", say({recipe_.clip_norm})},
                    {"inner_at_sync", std::string(at_sync[static_cast<std::size_t>(recipe_.inner_at_sync)])},
                    {"bf16_rounding", std::string(rounds[static_cast<std::size_t>(recipe_.bf16_rounding)])},
                    {"seed", say({recipe_.seed})},
                    {"max_skipped_steps", say({recipe_.max_skipped_steps})},
                    {"number of steps before the first round", say({steps_})}}});
  terms.push_back({"tensors",
                   {{"tensors", say({layout_.rows().size(), " tensors of ", layout_.parameters(),
                                     " elements in all"})}}});
  return terms;
}

DILOCO_ENGINE
DILOCO_COLD result<> DILOCO_CLASS::join() {
  if (auto fine = compare_with_peers(); !fine) return fine;
  auto const run =
      agree_on_run(recipe_.transport, recipe_.executor, anchor_, deadline_after(recipe_.deadline_seconds));
  if (!run) return run.error();
  run_ = *run;
  show_new_sample();  // last: a trainer that is refused leaves the caller's tensors as they were
  recipe_.executor.wait();
  return {};
}

DILOCO_ENGINE
DILOCO_COLD result<> DILOCO_CLASS::compare_with_peers() {
  auto const limit = deadline_after(recipe_.deadline_seconds);
  auto terms = contract_terms();
  if (auto fine = agree(recipe_.transport, recipe_.executor, terms, detail::terms_phase, limit); !fine)
    return fine;

  // As many tensors everywhere: now each can be named.
  terms.clear();
  for (std::size_t r = 0; r < layout_.rows().size(); ++r) {
    std::string const label = say({"name, shape or group of tensor ", r});
    terms.push_back({label, {{label, layout_.text(r)}}});
  }
  for (layout::row const& r : layout_.rows()) {
    std::string const label = say({"initial values of '", r.name, "'"});
    terms.push_back(
        {label, {{label, say({"values with the digest ", digest_of_tensor(recipe_.executor, r)})}}});
  }
  return agree(recipe_.transport, recipe_.executor, terms, detail::tensors_phase, limit);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
