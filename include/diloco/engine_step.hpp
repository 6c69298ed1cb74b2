// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>

// Members of DiLoCo that make one inner step: is it allowed, are the gradients what they should be, the
// sweep.

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {
DILOCO_COLD inline std::string gradient_error(layout::row const& row, gradient_view const& g) {
  if (row.frozen || g.size == 0) return {};
  if (g.is_bf16 && row.bf16 == nullptr) {
    return say({"step: the gradient of '", row.name, "' is bfloat16 and the parameter float32; widen it"});
  }
  if (g.size != row.size) {
    return say(
        {"step: the gradient of '", row.name, "' has ", g.size, " elements, the parameter ", row.size});
  }
  return g.data == nullptr ? say({"step: the gradient of '", row.name, "' points to nothing"})
                           : std::string{};
}
}  // namespace detail

DILOCO_ENGINE
result<> DILOCO_CLASS::usable(step_options const& o) const {
  if (broken_ != nullptr)
    return fail(cause::wrong_state, say({"this trainer cannot go on since: ", broken_->message}));
  if (watch_->dropped) {
    return fail(cause::wrong_state, say({"this trainer cannot go on: the flight of round ", rounds_,
                                         " was dropped before it landed"}));
  }
  auto const check = [](std::string_view name, double x) {
    return non_negative.holds(x) ? std::string{} : say({name, " = ", x, " ", range_text(non_negative)});
  };
  std::string complaint = check("lr_scale", static_cast<double>(o.lr_scale));
  if (complaint.empty()) complaint = check("grad_scale", static_cast<double>(o.grad_scale));
  if (complaint.empty()) complaint = check("tokens", o.tokens);
  if (!complaint.empty()) return fail(cause::bad_setting, say({"step: ", complaint}));
  return {};
}

DILOCO_ENGINE
result<> DILOCO_CLASS::room_for_a_step(step_options const& o) const {
  if (auto fine = usable(o); !fine) return fine;
  if (float const factor = recipe_.rate.factor(steps_ + 1);
      steps_inside && !non_negative.holds(static_cast<double>(factor))) {
    return fail(cause::bad_setting, say({"step: the factor of ", Rate::name, " in step ", steps_ + 1, " is ",
                                         factor, "; it ", range_text(non_negative)}));
  }
  if (auto fine = shows_training_point("step"); !fine) return fine;
  if (!in_flight_ || !recipe_.schedule.due(steps_ + 1)) return {};
  return fail(cause::wrong_state, say({"step: a round is due after this step, and round ", rounds_,
                                       " is under way; land it first"}));
}

/// Counts a step, and makes the round that is due after it.
DILOCO_ENGINE
step_result DILOCO_CLASS::count_step(double tokens) {
  steps_ += 1;
  weight_ += tokens;
  if constexpr (hears<Probe, inner_stepped>) tell(inner_stepped{steps_});
  bool due = false;
  auto fine = guard("the schedule", [&] { due = recipe_.schedule.due(steps_); });
  if (!fine || !due) return step_result::taken(std::move(fine));
  total_weight_ = -1;  // until all message headers are read
  auto done = one_round(true);
  // Nobody took a step since the last round, so there is nothing to agree on: the next round speaks for this
  // one.
  bool const nothing_said = !done && broken_ == nullptr && total_weight_ == 0 && !unskipped_;
  return step_result::taken(nothing_said ? result<>{} : std::move(done));
}

DILOCO_ENGINE
template <class Gradients>
step_result DILOCO_CLASS::take_step(Gradients const& gradients, step_options const& o) {
  auto fine = accept(gradients, o);
  if (!fine && o.skip_not_finite && fine.error().what == cause::not_finite)
    return skip(0, fine.error().message);
  if (!fine) return std::move(fine).error();
  skipped_in_a_row_ = 0;
  unskipped_ = true;
  if (auto stepped = guard("step", [&] { inner_sweep(o); }); !stepped) return std::move(stepped).error();
  return count_step(o.tokens);
}

DILOCO_ENGINE
step_result DILOCO_CLASS::count_outside_step(double tokens) {
  if (auto fine = room_for_a_step({.tokens = tokens}); !fine) return std::move(fine).error();
  skipped_in_a_row_ = 0;
  unskipped_ = must_move_ = true;
  return count_step(tokens);
}

DILOCO_ENGINE
step_result DILOCO_CLASS::try_skip_step(double tokens) {
  if (auto fine = room_for_a_step({.tokens = tokens}); !fine) return std::move(fine).error();
  return told(skip(tokens, "skip_step was called"));
}

DILOCO_ENGINE
step_result DILOCO_CLASS::skip(double tokens, std::string_view why) {
  if (skipped_in_a_row_ >= recipe_.max_skipped_steps) {
    return fail(cause::wrong_state,
                say({"step: ", skipped_in_a_row_,
                     " steps in a row were skipped, as many as max_skipped_steps allows, ",
                     "and this one would be skipped, too (", why,
                     "); load an earlier state, lower the learning rate or ",
                     "the loss scale, or raise max_skipped_steps"}));
  }
  ++skipped_in_a_row_;
  return count_step(tokens);
}

DILOCO_ENGINE
template <class Gradients>
result<> DILOCO_CLASS::accept(Gradients const& gradients, step_options const& o) {
  if (auto fine = room_for_a_step(o); !fine) return fine;
  if constexpr (traits_of<Outer>.wants_constant_inner_rate) {
    if (o.lr_scale != 1.0f) {
      return fail(cause::bad_setting,
                  say({"step: lr_scale = ", o.lr_scale, " changes the inner rate that ", Outer::name,
                       " divides by; leave it 1, or take heavy_ball for a momentum of displacements"}));
    }
  }
  if (static_cast<std::size_t>(gradients.size()) != layout_.rows().size()) {
    return fail(cause::bad_layout,
                say({"step: ", gradients.size(), " gradients for ", layout_.rows().size(), " parameters"}));
  }
  std::size_t r = 0, there = 0;
  for (auto const& each : gradients) {
    gradient_view const g = detail::view_of(each);
    if (std::string what = detail::gradient_error(layout_.rows()[r], g); !what.empty())
      return fail(cause::bad_layout, what);
    there += layout_.rows()[r++].frozen || g.size == 0 ? 0 : 1;
  }
  if (there == 0)
    return fail(cause::bad_layout, "step: no tensor has a gradient; leave a step out with skip_step()");
  return guard("step", [&] {
    take(gradients);
    return measure_gradients(o);
  });
}

/// Writes down where they lie, once none can be refused any more.
DILOCO_ENGINE
template <class Gradients>
void DILOCO_CLASS::take(Gradients const& gradients) {
  index_view const& table = index_.host();
  std::size_t r = 0;
  bool changed = false;
  for (auto const& each : gradients) {
    gradient_view const g = detail::view_of(each);
    void const* const at = g.size == 0 ? nullptr : g.data;
    std::uint64_t const kind = g.is_bf16 ? 1 : 0;
    if (!layout_.rows()[r].frozen && (table.gradients()[r] != at || table.gradient_is_bf16()[r] != kind)) {
      // An asynchronous executor may still read the pointers of the step before.
      if (!std::exchange(changed, true)) recipe_.executor.wait();
      table.gradients()[r] = at;
      table.gradient_is_bf16()[r] = kind;
    }
    ++r;
  }
  if (changed) index_.upload_gradients(recipe_.executor);
}

DILOCO_ENGINE
result<> DILOCO_CLASS::measure_gradients(step_options const& o) {
  bool const checks = DILOCO_CHECKS >= DILOCO_CHECKS_NORMAL || o.skip_not_finite;
  char const* const what = "step: the gradient of";
  if (!clips()) return checks ? find_too_large(what, o.grad_scale) : result<>{};
  if (checks && recipe_.clip_norm > inner_state<Inner>::largest(recipe_.inner)) {
    if (auto fine = find_too_large(what, o.grad_scale); !fine)
      return fine;  // what is clipped may still be too large
  }
  Executor const& where = recipe_.executor;
  std::size_t const tiles = index_.tile_count();
  if (checks) *index_.not_finite() = message_header::no_row;
  where.for_each(tiles, norm_partials_kernel{index_.tiles(),
                                             gradient_rows{index_.gradients(), index_.gradient_is_bf16()},
                                             norm_partials_, checks ? index_.not_finite() : nullptr});
  std::size_t const groups = sum_partials_kernel::groups(tiles);
  where.for_each(groups, sum_partials_kernel{norm_partials_, tiles, norm_partials_ + tiles});
  where.for_each(
      1, clip_factor_kernel{norm_partials_ + tiles, groups, o.grad_scale, recipe_.clip_norm, factor_});
  return checks ? complaint_about_bad_row(what) : result<>{};
}

DILOCO_ENGINE
float DILOCO_CLASS::gradient_norm() const {
  if (!clips()) return 0.0f;
  if constexpr (Executor::columns_on_host) {
    recipe_.executor.wait();
    return factor_->norm;
  } else {
    recipe_.executor.copy_to_host(index_.norm(), &factor_->norm, sizeof(float));
    recipe_.executor.wait();
    return *index_.norm();
  }
}

/// A gradient that is finite and beyond what the inner optimizer bears, such as the square root of the
/// largest float under adamw.
DILOCO_ENGINE
result<> DILOCO_CLASS::find_too_large(std::string_view what, float scale) {
  float const most = inner_state<Inner>::largest(recipe_.inner);
  gradient_rows const gradients{index_.gradients(), index_.gradient_is_bf16()};
  if (find_non_finite(gradients, what, scale, most)) return {};
  std::uint32_t const row = *index_.not_finite();
  if (auto fine = find_non_finite(gradients, what, scale); !fine) return fine;
  return fail(cause::not_finite,
              say({what, " '", layout_.rows()[row].name, "' holds a value beyond ", most / scale,
                   ", the largest that ", Inner::name, " bears; clip it, or lower grad_scale"}));
}

DILOCO_ENGINE
template <class Rows>
result<> DILOCO_CLASS::find_non_finite(Rows const& rows, std::string_view what, float scale, float most) {
  float const scaled = most / scale, all = static_cast<float>(unbounded);  // of what is `most` when scaled
  float const largest = scaled < all ? scaled : all;
  *index_.not_finite() = message_header::no_row;
  recipe_.executor.for_each(index_.tile_count(),
                            find_non_finite_kernel<Rows>{index_.tiles(), rows, largest, index_.not_finite()});
  return complaint_about_bad_row(what);
}

DILOCO_ENGINE
result<> DILOCO_CLASS::complaint_about_bad_row(std::string_view what) {
  recipe_.executor.wait();
  if (*index_.not_finite() == message_header::no_row) return {};
  return fail(cause::not_finite, say({what, " '", layout_.rows()[*index_.not_finite()].name,
                                      "' holds a value that is not finite"}));
}

DILOCO_ENGINE
result<> DILOCO_CLASS::shows_training_point(std::string_view call) const {
  if (!shows_mean_) return {};
  return fail(cause::wrong_state, say({call, ": the tensors show the mean; call show_sample() ",
                                       call == "step" ? "before the gradients are taken" : "first"}));
}

DILOCO_ENGINE
void DILOCO_CLASS::show(bool samples) {
  if constexpr (inner_state<Inner>::has_views) {
    if (samples == shows_mean_) {  // else they show it already
      inner_.allocate_views(recipe_.executor, table_, recipe_.inner);
      inner_.show_view(recipe_.executor, recipe_.inner, layout_, index_, shown(rounded_by_), !samples);
      shows_mean_ = !samples;
    }
  }
  if constexpr (inner_state<Inner>::has_samples) {
    inner_.show(recipe_.executor, recipe_.inner, layout_, index_,
                {{steps_taken_ + 1, 1.0f}, 1.0f, nullptr, shown({}), sample()}, samples);
    shows_mean_ = !samples;
  }
}

DILOCO_ENGINE
void DILOCO_CLASS::show_new_sample() {
  ++samples_;
  show(true);
}

DILOCO_ENGINE
void DILOCO_CLASS::inner_sweep(step_options const& o) {
  if (factor_ != nullptr && !clips())
    recipe_.executor.for_each(1, plain_factor_kernel{o.grad_scale, factor_});
  step_context const context{++steps_taken_, product(o.lr_scale, recipe_.rate.factor(steps_ + 1))};
  ++samples_;
  rounded_by_ = {steps_, static_cast<std::uint32_t>(recipe_.transport.rank()), 2};
  inner_.step(
      recipe_.executor, recipe_.inner, layout_, index_,
      {context, o.grad_scale, factor_ == nullptr ? nullptr : &factor_->factor, shown(rounded_by_), sample()});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
