// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/core.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE result<> trainer_core::room_for_a_step(step_options const& o) {
  if (auto fine = rounds->usable(); !fine) return fine;
  auto const check = [&](std::string_view name, double x) -> result<> {
    if (non_negative.holds(x)) return {};
    return run.fail(cause::bad_setting, say({"step: ", name, " = ", x, " ", range_text(non_negative)}));
  };
  if (auto fine = check("lr_scale", static_cast<double>(o.lr_scale)); !fine) return fine;
  if (auto fine = check("grad_scale", static_cast<double>(o.grad_scale)); !fine) return fine;
  if (auto fine = check("tokens", o.tokens); !fine) return fine;
  if (double const sum = rounds->largest_weight() + o.tokens; sum > 1e30) {
    return run.fail(cause::bad_setting,
                    say({"step: tokens = ", o.tokens, " bring the weight of the next round to ", sum,
                         ", and 1e30 is the most"}));
  }
  if (float const factor = policies_.rate_factor(run.steps + 1);
      facts_.steps_inside && !non_negative.holds(static_cast<double>(factor))) {
    return run.fail(cause::bad_setting, say({"step: the factor of ", facts_.rate, " in step ", run.steps + 1,
                                             " is ", factor, "; it ", range_text(non_negative)}));
  }
  if (auto fine = run.shows_training_point("step"); !fine) return fine;
  if (!rounds->any_open()) return {};
  return run.guard("the schedule", [&] { return rounds->room_for(policies_.after(run.steps + 1)); });
}

DILOCO_COLD DILOCO_CORE result<> trainer_core::room_for_an_inner_step(step_options const& o) {
  if (auto fine = room_for_a_step(o); !fine || o.lr_scale == 1.0f) return fine;
  if (facts_.wants_constant_rate) {
    return run.fail(cause::bad_setting,
                    say({"step: lr_scale = ", o.lr_scale, " changes the inner rate that ", facts_.outer,
                         " divides by; leave it 1, or take heavy_ball for a momentum of displacements"}));
  }
  if (facts_.sends_gradients) {
    return run.fail(cause::bad_setting, say({"step: lr_scale = ", o.lr_scale,
                                             " is that of an inner step, and this trainer only sends the ",
                                             "gradients; let the outer optimizer follow a schedule"}));
  }
  return {};
}

DILOCO_COLD DILOCO_CORE step_result trainer_core::count_step(double tokens, kind what) {
  run.steps += 1;
  rounds->progress();
  rounds->count_step(tokens, what != kind::skipped, what == kind::outside);
  policies_.tell(inner_stepped{run.steps});
  action_list actions;
  auto fine = run.guard("the schedule", [&] { actions = policies_.after(run.steps); });
  if (!fine || actions.empty()) return step_result::taken(std::move(fine));
  return step_result::taken(rounds->perform(actions));
}

DILOCO_COLD DILOCO_CORE step_result trainer_core::count_outside_step(double tokens) {
  if (auto fine = room_for_a_step({.tokens = tokens}); !fine) return std::move(fine).error();
  run.skipped_in_a_row = 0;
  return count_step(tokens, kind::outside);
}

DILOCO_COLD DILOCO_CORE step_result trainer_core::skip(double tokens, std::string_view why) {
  if (run.skipped_in_a_row >= facts_.max_skipped_steps) {
    return run.fail(cause::wrong_state,
                    say({"step: ", run.skipped_in_a_row,
                         " steps in a row were skipped, as many as max_skipped_steps allows, ",
                         "and this one would be skipped, too (", why,
                         "); load an earlier state, lower the learning rate or ",
                         "the loss scale, or raise max_skipped_steps"}));
  }
  ++run.skipped_in_a_row;
  if (facts_.sends_gradients) {  // the round of this step says nothing, and with no weight
    intake->forget();
    tokens = 0;
  }
  return count_step(tokens, kind::skipped);
}

DILOCO_COLD DILOCO_CORE trainer_core::~trainer_core() = default;

DILOCO_COLD DILOCO_CORE result<> trainer_core::told(result<> r) {
#if DILOCO_EXCEPTIONS
  if (probe_threw_ == nullptr) return r;
  auto const thrown = std::exchange(probe_threw_, nullptr);
  if (r) std::rethrow_exception(thrown);
  error e = r.error();
  e.message += "; and the probe threw: " + text_of(thrown);
  return e;
#else
  return r;
#endif
}

DILOCO_COLD DILOCO_CORE step_result trainer_core::told(step_result r) {
  result<> all = told(static_cast<result<>>(r));
  if (all) return {};
  return std::move(all).error();
}

DILOCO_COLD DILOCO_CORE void trainer_core::open_state(std::size_t fragments,
                                                      std::vector<tile> const& combined) {
  lookup.emplace(where_, model, combined);
  state.emplace(fragments);
}

DILOCO_COLD DILOCO_CORE void trainer_core::open_rounds(gradient_intake::facts const& inner,
                                                       round_facts const& round,
                                                       std::vector<std::shared_ptr<round_flight>> flights,
                                                       std::shared_ptr<round_flight> next) {
  lookup->upload_tensors(where_, model);
  intake.emplace(run, model, *lookup, where_, *state, inner);
  rounds.emplace(round_machine::surroundings{run, model, *lookup, *state, anchor, where_, over_, policies_},
                 round, std::move(flights), std::move(next));
}

DILOCO_COLD DILOCO_CORE result<> trainer_core::join() {
  if (auto fine = compare_with_peers(); !fine) return fine;
  auto const number = agree_on_run(over_, this, deadline_after(facts_.deadline_seconds));
  if (!number) return number.error();
  rounds->belongs_to(*number);
  show_new_sample();  // last: a trainer that is refused leaves the caller's tensors as they were
  where_.wait();
  return {};
}

DILOCO_COLD DILOCO_CORE std::vector<contract_term> trainer_core::contract_terms() const {
  contract_settings const s = policies_.settings();
  std::vector<contract_term> terms{build_term(s.float_modes)};
  for (std::size_t i = 0; i < s.policies.size(); ++i)
    terms.push_back(term_of(std::string(policy_roles[i].term), s.policies[i]));
  terms.push_back({"recipe",
                   {{"pattern of the exchange", std::string(s.legs)},
                    {"clip_norm", say({s.clip_norm})},
                    {"inner_at_sync", std::string(s.inner_at_sync)},
                    {"bf16_rounding", std::string(s.bf16_rounding)},
                    {"seed", say({s.seed})},
                    {"max_skipped_steps", say({s.max_skipped_steps})},
                    {"number of steps before the first round", say({run.steps})}}});
  terms.push_back(
      {"tensors",
       {{"tensors", say({model.rows().size(), " tensors of ", model.parameters(), " elements in all"})}}});
  return terms;
}

DILOCO_COLD DILOCO_CORE std::uint64_t trainer_core::digest_of_theta() const {
  hash64 h;
  for (layout::row const& r : model.rows()) {
    if (!r.frozen) h.add(digest_of_column(where_, r.data, r.size));
  }
  return h.value();
}

DILOCO_COLD DILOCO_CORE result<> trainer_core::compare_with_peers() const {
  auto const limit = deadline_after(facts_.deadline_seconds);
  auto terms = contract_terms();
  if (auto fine = agree(over_, terms, detail::terms_phase, limit); !fine) return fine;

  // As many tensors everywhere: now each can be named.
  terms.clear();
  for (std::size_t r = 0; r < model.rows().size(); ++r) {
    std::string const label = say({"name, shape or group of tensor ", r});
    terms.push_back({label, {{label, model.text(r)}}});
  }
  for (layout::row const& r : model.rows()) {
    std::string const label = say({"initial values of '", r.name, "'"});
    terms.push_back({label, {{label, say({"values with the digest ", digest_of_tensor(where_, r)})}}});
  }
  return agree(over_, terms, detail::tensors_phase, limit);
}

/// Ranks that all came may try again. After a missed or mixed-up exchange the transport cannot go on.
DILOCO_COLD DILOCO_CORE result<> trainer_core::agree_on_outcome(std::vector<contract_term> const& terms,
                                                                std::uint32_t phase) {
  auto fine = agree(over_, terms, phase, deadline_after(facts_.deadline_seconds));
  if (fine) return fine;
  if (fine.error().message.starts_with("diloco: contract: ")) {
    error e = std::move(fine).error();
    constexpr std::string_view advice = "; give all ranks the same";  // says nothing of what went wrong there
    if (phase != detail::adopt_phase && e.message.ends_with(advice))
      e.message.resize(e.message.size() - advice.size());
    return e;
  }
  return run.ends(std::move(fine).error());
}

/// Finite, and within what the outer optimizer bears where it steps θ itself. Elsewhere launches check
/// anchors.
DILOCO_COLD DILOCO_CORE result<> trainer_core::check_theta(std::string_view what) const {
  theta_rows const rows{(*lookup)->theta};
  auto fine = intake->find_not_finite(rows, what);
  float const most = rounds->facts().limits.anchor;
  if (!fine || !rounds->facts().by_step_only || intake->find_not_finite(rows, what, 1.0f, most)) return fine;
  return run.fail(cause::not_finite,
                  say({what, " '", model.rows()[*lookup->not_finite()].name, "' holds a value beyond ", most,
                       ", the largest that ", rounds->facts().outer, " bears"}));
}

DILOCO_COLD DILOCO_CORE result<> trainer_core::adopt() {
  if (auto fine = rounds->usable(); !fine) return fine;
  if (facts_.has_samples && !run.shows_mean)
    return run.fail(cause::wrong_state,
                    "adopt: the tensors show samples; call show_mean() before they are loaded");
  if (!facts_.has_samples) {
    if (auto fine = run.shows_training_point("adopt"); !fine) return fine;
  }
  if (auto fine = rounds->all_landed("adopt"); !fine) return fine;
  return run.guard("adopt", [&]() -> result<> {
    policies_.adopt_everything();
    auto const finite = check_theta("adopt: the parameter");
    std::vector<contract_term> terms;
    auto const term = [&](std::string const& label, std::string value) {
      terms.push_back({label, {{label, std::move(value)}}});
    };
    term("question whether all tensors are finite", finite ? "finite tensors" : finite.error().message);
    for (layout::row const& r : model.rows())
      term(say({"values of '", r.name, "'"}), say({"values with the digest ", digest_of_tensor(where_, r)}));
    if (auto fine = agree_on_outcome(terms, detail::adopt_phase); !fine) return fine;
    if (!finite) return finite;
    if (anchor != nullptr)
      where_.for_each(lookup->tile_count(),
                      copy_to_anchor_kernel{(*lookup)->tiles, (*lookup)->theta, anchor});
    show_new_sample();
    where_.wait();
    rounds->steps_are_known();
    return {};
  });
}

DILOCO_COLD DILOCO_CORE result<std::span<float const>> trainer_core::cell(std::string_view row,
                                                                          std::string_view column) const {
  using floats = std::span<float const>;
  layout::row const* const r = model.find(row);
  if (r == nullptr) return run.fail(cause::bad_setting, say({"cell: there is no tensor '", row, "'"}));
  if (column == "theta") {
    if (floats const hidden = policies_.hidden_theta(*r); !hidden.empty()) return hidden;
    if (r->data != nullptr) return floats{r->data, r->size};
  }
  std::string names = r->data == nullptr ? "" : "theta";
  if (!r->frozen) {
    if (column.starts_with("inner.")) {
      if (floats const found = policies_.inner_cell(*r, column.substr(6)); !found.empty()) return found;
    }
    for (auto const& c : state->all()) {
      if (c->order().what != column_order::rows) continue;
      if (c->name() == column) return floats{c->current(r->fragment) + r->column, r->size};
      names += say({names.empty() ? "" : ", ", c->name()});
    }
    for (std::string_view slot : policies_.inner_slots(*r)) names += say({", inner.", slot});
  }
  return run.fail(cause::bad_setting,
                  say({"cell: '", row, "' has no column '", column, "' of floats; it has ",
                       names.empty() ? "none: it is frozen and bfloat16" : names}));
}

DILOCO_COLD DILOCO_CORE result<std::unique_ptr<trainer_policies>> detail::construct(construction const& how) {
  auto const attempt = [&] {
    auto parts = how.build(how.recipe, how.parameters);
    if (!parts) how.tell_peers(how.recipe, parts.error().message);
    return parts;
  };
#if DILOCO_EXCEPTIONS
  try {
    return attempt();
  } catch (std::exception const& e) {
    how.tell_peers(how.recipe, say({"its construction threw: ", e.what()}));
    throw;
  } catch (...) {
    how.tell_peers(how.recipe, "its construction threw an exception of unknown type");
    throw;
  }
#else
  return attempt();
#endif
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
