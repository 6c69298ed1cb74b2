// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/explain.hpp>
#include <diloco/trainer/make.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// One worker's end of a DiLoCo run over the caller's own tensors.
///
/// The library never owns the loop: call `step(gradients)` after each backward pass (or `after_step` with an
/// `external` inner optimizer). Every call is collective where it communicates, so all ranks make the same
/// calls in the same order.
///
/// `make` and most functions named `try_…` return `result`. `try_step`, `try_after_step` and `try_skip_step`
/// return `step_result`. The same name without `try_` throws `exception` with the same error.
/// `show_mean` and `show_sample` have no `try_` form.
///
/// After a refused step, θ, slots and counters are unchanged. After an aborted round, θ̄, residual and outer
/// slots are unchanged; the inner step before it stands and is counted.
/// An exception of a transport or executor ends the run: later calls are refused with its text. θ, θ̄, inner
/// and outer slots and the shared estimate may then be half written.
/// An exception of a probe is thrown again once step and round are complete; the trainer can go on.
///
/// Steps and rounds that succeed allocate nothing. Exception: DILOCO_CHECKS_COLLECTIVE, where comparing
/// anchors allocates.
template <class Inner, class Outer, class Compressor, class Transport, class Feedback, class Combine,
          class Exchange, class Schedule, class Executor, class Probe, class Rate, class Signal>
class DiLoCo : detail::explained<Inner, Outer, Compressor, Transport, Feedback, Combine, Exchange, Schedule,
                                 Executor, Rate, Signal> {
 public:
  using recipe_type = recipe<Inner, Outer, Compressor, Transport, Feedback, Combine, Exchange, Schedule,
                             Executor, Probe, Rate, Signal>;
  /// Handle of an open round; move-only.
  using flight = diloco::flight;

  static constexpr bool has_residual = carries_residual<Compressor, Feedback>;
  static constexpr bool is_staged = staged_compressor<Compressor>;
  static constexpr bool steps_inside = !external_optimizer<Inner>;
  /// Whether `show_mean` and `show_sample` compile.
  static constexpr bool has_other_view = inner_state<Inner>::has_samples || inner_state<Inner>::has_views;

  /// Takes all memory, checks every number, copies θ into θ̄, and compares settings, shapes and initial
  /// parameters with the other ranks. Collective. `parameters`: a range of `tensor`, which must outlive the
  /// trainer. The destructor waits for what was enqueued, and after a failed exchange up to 1 s for the peers
  /// to read that this rank gave up.
  template <class Parameters>
  DiLoCo(recipe_type r, Parameters const& parameters) : DiLoCo(make(std::move(r), parameters).value()) {}

  /// The constructor's result-returning form.
  template <class Parameters>
  [[nodiscard]] static result<DiLoCo> make(recipe_type r, Parameters const& parameters) {
    auto parts = detail::make_parts(r, parameters);
    if (!parts) return std::move(parts).error();
    return DiLoCo(std::move(*parts));
  }

  /// Inner step on θ, then the launches and landings that are due.
  /// `gradients`: one float32 or bfloat16 view per parameter, in parameter order and of its size. Elements
  /// convert to `std::span<float const>`, `std::span<bfloat16 const>` or `gradient_view`.
  /// An empty view means no gradient: θ and slots of that tensor stay, without decay and momentum. Views of
  /// frozen tensors are ignored.
  /// Clipping, `skip_not_finite` and DILOCO_CHECKS_NORMAL read the gradients once more before θ is written.
  /// Cost: 4 B/param, or 2 B/param of bfloat16. Checked steps sweep twice if `clip_norm` is above the largest
  /// magnitude that the inner optimizer accepts.
  /// A step starts from the values in the caller's tensors, also where the trainer keeps a float32 copy.
  /// Exception: under ivon the tensors show samples, and the step starts from θ.
  template <class Gradients>
  step_result try_step(Gradients const& gradients, step_options o = {}) {
    if constexpr (detail::explain_inside<steps_inside>() && detail::explain_gradients<Gradients>()) {
      return core().told(parts().step(gradients, o));
    } else {
      return {};  // the static_assert has failed already; further compiler errors would hide it
    }
  }
  template <class Gradients>
  void step(Gradients const& gradients, step_options o = {}) {
    try_step(gradients, o).value();
  }

  /// Counts a step of `tokens` that the framework took on θ, then the launches and landings that are due.
  template <class Self = DiLoCo>
  step_result try_after_step(double tokens = 1) {
    static_assert(detail::explain_outside<Self::steps_inside>());
    return core().told(core().count_outside_step(tokens));
  }
  template <class Self = DiLoCo>
  void after_step(double tokens = 1) {
    try_after_step<Self>(tokens).value();
  }
  /// The same, but first compares the addresses of `parameters` with those that the trainer knows. An error
  /// names the first tensor that has moved. Cost: one comparison per tensor.
  template <class Parameters, class Self = DiLoCo>
  requires no_options<Parameters> step_result try_after_step(Parameters const& parameters,
                                                             double tokens = 1) {
    auto where = core().model.moved(parameters);
    if (where.empty()) return try_after_step<Self>(tokens);
    return core().run.fail(cause::bad_layout, "after_step: " + where);
  }
  template <class Parameters, class Self = DiLoCo>
  requires no_options<Parameters>
  void after_step(Parameters const& parameters, double tokens = 1) {
    try_after_step<Parameters, Self>(parameters, tokens).value();
  }

  /// Counts a step without stepping θ, e.g. after a loss-scale overflow. The schedule advances as on other
  /// ranks. After `max_skipped_steps` in a row, the next skip is an error and is not counted.
  step_result try_skip_step(double tokens = 0) {
    if (auto fine = core().room_for_a_step({.tokens = tokens}); !fine) return std::move(fine).error();
    return core().told(core().skip(tokens, "skip_step was called"));
  }
  void skip_step(double tokens = 0) { try_skip_step(tokens).value(); }

  /// Writes the evaluation point to the caller's tensors: θ (ivon) or average x (schedule_free_adamw).
  /// Enqueues. `show_sample` restores what the tensors showed before, bit by bit.
  /// Until then step, launch, land, sync and rebind are refused; adopt too, except under ivon.
  /// The first call under schedule_free_adamw allocates 4 B/param for a copy of θ. Neither function compiles
  /// under other inner optimizers.
  template <class Self = DiLoCo>
  void show_mean() {
    static_cast<void>(detail::explain_show<Self::has_other_view>()), parts().show(false);
  }
  template <class Self = DiLoCo>
  void show_sample() {
    static_cast<void>(detail::explain_show<Self::has_other_view>()), parts().show(true);
  }

  /// Reads the caller's tensors (a checkpoint, a merge) into θ̄ and into the float32 copies. Collective.
  /// Waits. Refused: tensors that differ between ranks, non-finite tensors, a round under way, tensors that
  /// show samples (ivon needs show_mean first) or average x. Other state stays; see reset_feedback.
  result<> try_adopt() { return core().adopt(); }
  void adopt() { try_adopt().value(); }

  /// Takes new addresses of the caller's tensors, e.g. after `torch::load` or `.to()`. `parameters` has the
  /// names, shapes and types of the constructor's list. Not collective; waits for the executor.
  template <class Parameters>
  result<> try_rebind(Parameters const& parameters) {
    return core().rebind(parameters);
  }
  template <class Parameters>
  void rebind(Parameters const& parameters) {
    try_rebind(parameters).value();
  }

  /// Pass A of one fragment: measures θ̄ − θ, encodes it and starts the exchange. Does not wait for messages.
  /// Waits until peers have read the fragment's previous round. Also waits for the encoding, unless the
  /// transport has `after` for this executor; host executors always wait.
  /// The schedule sets the number of fragments. Each can have one round under way.
  result<flight> try_launch(int fragment = 0) { return core().rounds->launch_by_hand(fragment); }
  [[nodiscard]] flight launch(int fragment = 0) { return try_launch(fragment).value(); }

  /// Waits for the messages, votes, and applies pass B if all votes are good. Flights land in launch order.
  /// Refused: a flight of another trainer, a flight that is not the next to land, a bad option. The flight
  /// then stays as it was.
  result<> try_land(flight&& f, land_options o = {}) {
    return core().told(core().rounds->land_by_hand(std::move(f), o));
  }
  void land(flight&& f, land_options o = {}) { try_land(std::move(f), o).value(); }

  /// One round of each fragment, now.
  result<> try_sync() { return core().told(core().rounds->sync()); }
  void sync() { try_sync().value(); }

  [[nodiscard]] std::uint64_t steps() const { return core().run.steps; }
  /// Whether the last step was skipped.
  [[nodiscard]] bool skipped() const { return core().run.skipped_in_a_row != 0; }
  /// Factor that the recipe's `rate` applies to the learning rate of the next inner step.
  [[nodiscard]] float rate_factor() const { return parts().rate_factor(steps() + 1); }
  /// ‖grad_scale · g‖ over all tensors of the last measured gradients, before clipping. 0 if the recipe does
  /// not clip. Waits for the executor.
  [[nodiscard]] float gradient_norm() const { return core().intake->norm(); }
  /// Committed rounds of all fragments. If ranks pair, dropped rounds count as well.
  [[nodiscard]] std::uint64_t rounds() const { return core().run.rounds; }
  [[nodiscard]] Transport& transport() { return parts().recipe().transport; }
  [[nodiscard]] Probe& probe() { return parts().recipe().probe; }
  /// Legs of the exchange for this number of ranks.
  [[nodiscard]] leg_list legs() const { return core().rounds->facts().legs; }

  /// Zeros every residual and the shared estimate. With an estimate, all ranks call it between the same
  /// rounds. For a worker that joins, parameters in a new unit, or a new data set. Waits.
  result<> try_reset_feedback() { return core().rounds->reset_feedback(); }
  void reset_feedback() { try_reset_feedback().value(); }

  /// One line of text: policies, wire format, exchange, schedule, exact costs.
  [[nodiscard]] std::string describe() const { return parts().describe(); }

  /// Bytes requested from the executor, by kind.
  [[nodiscard]] struct footprint footprint() const { return parts().memory(); }

  /// Bytes that this rank sends in one round of each fragment, message headers and padding included. If an
  /// odd number of ranks pair, one rank per round sends nothing.
  [[nodiscard]] std::size_t wire_bytes_per_round() const { return core().rounds->sent_bytes(); }
  /// Of these bytes those to ranks of other groups, votes included. 0 for an exchange without groups.
  [[nodiscard]] std::size_t wire_bytes_between_groups() const {
    return core().rounds->bytes_between_groups();
  }
  /// As wire_bytes_per_round, for the largest fragment: what this rank sends at once.
  [[nodiscard]] std::size_t wire_bytes_at_once() const { return core().rounds->largest_sent_bytes(); }

  /// One row of a column: `theta` (as trained, also under `show_mean`), `anchor`, `residual` (32 bits),
  /// `estimate`, `outer.<slot>`, `inner.<slot>`. An error lists the existing names.
  /// The memory is the executor's; the span is valid until state changes.
  [[nodiscard]] result<std::span<float const>> try_cell(std::string_view row, std::string_view column) const {
    return core().cell(row, column);
  }
  [[nodiscard]] std::span<float const> cell(std::string_view row, std::string_view column) const {
    return try_cell(row, column).value();
  }

  /// Digest of θ̄: equal on all ranks after every round, unless they pair or the schedule is eager.
  [[nodiscard]] std::uint64_t digest() const { return core().digest(); }

 private:
  friend struct trainer_access;
  using parts_type = trainer_parts<recipe_type>;
  explicit DiLoCo(std::unique_ptr<trainer_policies> parts) : parts_(std::move(parts)) {}
  [[nodiscard]] parts_type& parts() { return static_cast<parts_type&>(*parts_); }
  [[nodiscard]] parts_type const& parts() const { return static_cast<parts_type const&>(*parts_); }
  [[nodiscard]] trainer_core& core() { return parts().core; }
  [[nodiscard]] trainer_core const& core() const { return parts().core; }

  std::unique_ptr<trainer_policies> parts_;  // parts_type
};

/// The core of a trainer, for parts of the library that not every program includes (snapshot.hpp).
struct trainer_access {
  template <class... Policies>
  [[nodiscard]] static trainer_core& core(DiLoCo<Policies...>& of) {
    return of.core();
  }
};

template <class... Policies, class Parameters>
DiLoCo(recipe<Policies...>, Parameters const&) -> DiLoCo<Policies...>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
