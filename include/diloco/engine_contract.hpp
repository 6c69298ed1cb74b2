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
}

/// All that this rank can find out alone; nothing is sent.
DILOCO_ENGINE
template <class Parameters>
DILOCO_COLD auto DILOCO_CLASS::build(recipe_type& r, Parameters const& parameters) -> result<DiLoCo> {
  int const rank = r.transport.rank();
  if (auto complaint = settings_complaint(r); !complaint.empty())
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
    if (!built) tell_peers(r, built.error().message);
    return built;
  };
#if DILOCO_EXCEPTIONS
  try {
    return attempt();
  } catch (std::exception const& e) {
    tell_peers(r, say({"its construction threw: ", e.what()}));
    throw;
  } catch (...) {
    tell_peers(r, "its construction threw an exception of unknown type");
    throw;
  }
#else
  return attempt();
#endif
}

DILOCO_ENGINE
DILOCO_COLD void DILOCO_CLASS::tell_peers(recipe_type& r, std::string_view sentence) noexcept {
  double const seconds = r.deadline_seconds > 0 && r.deadline_seconds < 1e9 ? r.deadline_seconds : 300;
#if DILOCO_EXCEPTIONS
  try {
    refuse(r.transport, r.executor, sentence, detail::term_count, deadline_after(seconds));
  } catch (...) {  // the caller gets its own error, which came first
  }
#else
  refuse(r.transport, r.executor, sentence, detail::term_count, deadline_after(seconds));
#endif
}

DILOCO_ENGINE
DILOCO_COLD std::string DILOCO_CLASS::settings_complaint(recipe_type const& r) {
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
  if (complaint.empty()) complaint = plain_complaint(r);
  if (complaint.empty() && !(r.deadline_seconds > 0 && r.deadline_seconds < 1e9)) {
    complaint = say({"diloco: deadline_seconds = ", r.deadline_seconds, " must be in (0, 1e9)"});
  }
  if (complaint.empty() && (r.exchange.pick(r.transport.size()) == pattern::pairs) != pairs_ranks) {
    complaint = say({"diloco: exchange ", Exchange::name,
                     ": picks pairs if and only if it has int partner(round, rank, ranks) const"});
  }
  return complaint;
}

/// Of the recipe's plain numbers, and of settings that would do nothing.
DILOCO_ENGINE
DILOCO_COLD std::string DILOCO_CLASS::plain_complaint(recipe_type const& r) {
  using state = inner_state<Inner>;
  if (!positive.holds(static_cast<double>(r.clip_norm)))
    return say({"diloco: clip_norm = ", r.clip_norm, " ", range_text(positive)});
  if (!steps_inside && r.clip_norm < no_clipping)
    return "diloco: clip_norm: the framework steps by itself and must clip by itself; say no_clipping";
  if (r.inner_at_sync != at_sync::keep && r.inner_at_sync != at_sync::reset &&
      r.inner_at_sync != at_sync::average)
    return say({"diloco: inner_at_sync = ", static_cast<int>(r.inner_at_sync),
                " is none of keep, reset and average"});
  if (r.inner_at_sync != at_sync::keep && state::planes == 0 && !state::has_memory)
    return say({"diloco: inner_at_sync: ", Inner::name, " keeps no state here; say at_sync::keep"});
  if (r.inner_at_sync == at_sync::average && state::has_memory)
    return say({"diloco: inner_at_sync: ", Inner::name,
                " keeps state of whole tensors, which has no mean; say at_sync::keep or at_sync::reset"});
  if constexpr (weighs_elements) {
    std::string found;
    for_each_group(r.inner, [&](auto const& o, auto) {
      if constexpr (requires { o.prior(); }) {
        if (found.empty() && !(std::fabs(o.prior() - r.combine.prior) <= 1e-5f * o.prior()))
          found = say({"diloco: combine: ", Combine::name, ": prior = ", r.combine.prior, " must be the ",
                       o.prior(), " that ", o.name, " adds to ", Combine::weighs_by});
      }
    });
    if (!found.empty()) return found;
  }
  if (!steps_inside && r.bf16_rounding == rounding::stochastic)
    return "diloco: bf16_rounding: the framework writes the tensors by itself; say rounding::nearest";
  return {};
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
    terms.push_back({label, {{label, say({"values with the digest ", digest_of_start(r)})}}});
  }
  return agree(recipe_.transport, recipe_.executor, terms, detail::tensors_phase, limit);
}

/// On the device where the host cannot read the columns: one byte in 64 comes to the host.
DILOCO_ENGINE
std::uint64_t DILOCO_CLASS::digest_of_column(float const* from, std::size_t n) const {
  if constexpr (Executor::columns_on_host) {
    return digest_of(from, n);
  } else {
    std::size_t const parts = digest_kernel::parts(n);
    buffer const chains =
        recipe_.executor.allocate_wire(parts * digest_kernel::chains * sizeof(std::uint64_t));
    recipe_.executor.for_each(parts, digest_kernel{from, n, chains.template as<std::uint64_t>()});
    recipe_.executor.wait();
    hash64 h;
    h.add(static_cast<std::uint64_t>(n));
    add_chains(h, chains.template as<std::uint64_t>(), parts);
    return h.value();
  }
}

/// Of a tensor as the caller gave it.
DILOCO_ENGINE
std::uint64_t DILOCO_CLASS::digest_of_start(layout::row const& r) const {
  if (r.data != nullptr) return digest_of_column(r.data, r.size);
  std::size_t const bytes = r.size * sizeof(bfloat16);  // frozen bfloat16
  buffer const staging = recipe_.executor.allocate_wire(bytes);
  if constexpr (Executor::columns_on_host) {
    std::memcpy(staging.data(), r.bf16, bytes);
  } else {
    recipe_.executor.copy_to_host(staging.data(), r.bf16, bytes);
    recipe_.executor.wait();
  }
  hash64 h;
  for (std::size_t i = 0; i < r.size; ++i) h.add(std::uint64_t{staging.template as<bfloat16>()[i].bits});
  return h.value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
