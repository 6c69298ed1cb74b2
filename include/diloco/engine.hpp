// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/explain.hpp>
#include <diloco/concepts/gradients.hpp>
#include <diloco/concepts/probe.hpp>
#include <diloco/concepts/traffic.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/guarded.hpp>
#include <diloco/engine_flight.hpp>
#include <diloco/recipe.hpp>
#include <diloco/state/digest.hpp>
#include <diloco/state/memory.hpp>
#include <diloco/state/table.hpp>
#include <diloco/sweep/apply_outer.hpp>
#include <diloco/sweep/carry.hpp>
#include <diloco/sweep/copy.hpp>
#include <diloco/sweep/encode.hpp>
#include <diloco/sweep/float_modes.hpp>
#include <diloco/sweep/group_roles.hpp>
#include <diloco/sweep/inner_state.hpp>
#include <diloco/sweep/message_headers.hpp>
#include <diloco/sweep/staged.hpp>
#include <diloco/wire/contract.hpp>

#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// One worker's end of a DiLoCo run over the caller's own tensors.
///
/// The library never owns the loop: call `step(gradients)` after each backward pass (or `after_step` with an
/// `external` inner optimizer). Every call is collective where it communicates, so all ranks make the same
/// calls in the same order. Functions named `try_…` return `result`; the others throw `exception` with the
/// same error. After an error nothing is half-applied: a refused step changed nothing, and a round that fell
/// through left θ̄, the residual and the outer slots as they were (the inner step before it stands, and is
/// counted). Steps and rounds allocate nothing. An exception of a transport or executor ends the run: the
/// trainer refuses later calls with its text, and θ may be stepped in part. An exception of a probe is thrown
/// again once step and round are complete; the trainer can go on.
template <class Inner, class Outer, class Compressor, class Transport, class Feedback, class Combine,
          class Exchange, class Schedule, class Executor, class Probe, class Rate>
class DiLoCo : detail::explained<Inner, Outer, Compressor, Transport, Feedback, Combine, Exchange, Schedule,
                                 Executor, Rate> {
 public:
  using recipe_type = recipe<Inner, Outer, Compressor, Transport, Feedback, Combine, Exchange, Schedule,
                             Executor, Probe, Rate>;

  static constexpr bool has_residual = carries_residual<Compressor, Feedback>;
  static constexpr bool is_staged = staged_compressor<Compressor>;
  static constexpr bool steps_inside = !external_optimizer<Inner>;
  /// Whether `show_mean` and `show_sample` are there.
  static constexpr bool has_other_view = inner_state<Inner>::has_samples || inner_state<Inner>::has_views;
  static constexpr bool weighs_elements = elementwise_combine<Combine>;
  static constexpr bool carries_anchor = wants_mean_anchor<Outer>;
  static constexpr bool pairs_ranks = pairing_exchange<Exchange>;

  using flight = round_flight<Transport>;

  DiLoCo(DiLoCo&&) noexcept = default;
  DiLoCo& operator=(DiLoCo&&) noexcept = default;
  /// Waits for what was enqueued, as memory of the host is given back; after a failed exchange also up to 1 s
  /// for the peers to read that this rank gave up.
  ~DiLoCo() { let_peers_read(), end_.now(); }

  /// Takes all memory, checks every number, copies θ into θ̄, and compares settings, shapes and initial
  /// parameters with the other ranks. Collective. `parameters`: a range of `tensor`, which must outlive the
  /// trainer.
  template <class Parameters>
  DiLoCo(recipe_type r, Parameters const& parameters) : DiLoCo(make(std::move(r), parameters).value()) {}

  /// The constructor's result-returning form.
  template <class Parameters>
  [[nodiscard]] static result<DiLoCo> make(recipe_type r, Parameters const& parameters) {
    auto built = build_or_tell(r, parameters);
    if (!built) return built;
    if (auto fine = built->join(); !fine) return std::move(fine).error();
    return built;
  }

  /// Inner step on θ, then a round where the schedule says so. `gradients`: a range of things convertible to
  /// `std::span<float const>` or `std::span<bfloat16 const>`, or of `gradient_view`, a view of either, in the
  /// order and of the sizes of the parameters. An empty one: the tensor has no gradient in this step, and its
  /// θ and slots stay, without decay and momentum. Those of frozen tensors are not looked at.
  /// Reads 4 B/param more where the recipe clips, and under DILOCO_CHECKS_NORMAL, to find a non-finite
  /// gradient before anything is written; one sweep does both.
  /// The tensors are the caller's at every step: a value that the caller wrote since the last call is stepped
  /// from, also where they are bfloat16 and the trainer keeps a float32 copy.
  template <class Gradients>
  step_result try_step(Gradients const& gradients, step_options o = {}) {
    if constexpr (detail::explain_inside<steps_inside>() && detail::explain_gradients<Gradients>()) {
      return told(take_step(gradients, o));
    } else {
      return {};  // the sentence is an error of its own; what follows would hide it
    }
  }
  template <class Gradients>
  void step(Gradients const& gradients, step_options o = {}) {
    try_step(gradients, o).value();
  }

  /// Counts a step of `tokens` that the framework took on θ, then runs a round where the schedule says so.
  template <class Self = DiLoCo>
  step_result try_after_step(double tokens = 1) {
    static_assert(detail::explain_outside<Self::steps_inside>());
    return told(count_outside_step(tokens));
  }
  template <class Self = DiLoCo>
  void after_step(double tokens = 1) {
    try_after_step<Self>(tokens).value();
  }
  /// The same, after a comparison of addresses: an error names the first tensor that is not where the trainer
  /// knows it. Cost: one comparison a tensor.
  template <class Parameters, class Self = DiLoCo>
  requires no_options<Parameters> step_result try_after_step(Parameters const& parameters,
                                                             double tokens = 1) {
    auto where = layout_.moved(parameters);
    return where.empty() ? try_after_step<Self>(tokens) : fail(cause::bad_layout, "after_step: " + where);
  }
  template <class Parameters, class Self = DiLoCo>
  requires no_options<Parameters>
  void after_step(Parameters const& parameters, double tokens = 1) {
    try_after_step<Parameters, Self>(parameters, tokens).value();
  }

  /// Counts a step that was left out (a loss scale that overflowed, a gradient that is not finite): θ and the
  /// slots stay, and the schedule goes on as on the other ranks, who must come to the round together. More
  /// than `max_skipped_steps` of them in a row are an error, and the one too many is not counted.
  step_result try_skip_step(double tokens = 0);
  void skip_step(double tokens = 0) { try_skip_step(tokens).value(); }

  /// For an evaluation: the caller's tensors show θ under ivon, and the average x under schedule_free_adamw,
  /// whose θ is y. `show_sample` brings back, bit by bit, what they showed. Step, launch and land are refused
  /// meanwhile. Enqueues. The first call under schedule_free_adamw takes 4 B/param, in which y waits. Neither
  /// compiles under other inner optimizers.
  template <class Self = DiLoCo>
  void show_mean() {
    static_cast<void>(detail::explain_show<Self::has_other_view>()), show(false);
  }
  template <class Self = DiLoCo>
  void show_sample() {
    static_cast<void>(detail::explain_show<Self::has_other_view>()), show(true);
  }

  /// Collective. Takes what the caller's tensors hold now (a checkpoint, a merge) for θ̄ and float32 copies.
  /// Other state stays; see reset_feedback. Refused where ranks' tensors differ, or a round is under way.
  result<> try_adopt();
  void adopt() { try_adopt().value(); }

  /// The caller's tensors lie elsewhere now (after `torch::load`, `.to()`): `parameters` has the names,
  /// shapes and types of the constructor's list, and new addresses. Not collective; waits for the executor.
  template <class Parameters>
  result<> try_rebind(Parameters const& parameters);
  template <class Parameters>
  void rebind(Parameters const& parameters) {
    try_rebind(parameters).value();
  }

  /// Sweep A: measures θ̄ − θ, encodes it and starts the exchange. Returns before anything arrived.
  result<flight> try_launch() { return launch_round(false); }
  [[nodiscard]] flight launch() { return try_launch().value(); }

  /// Waits for the messages, votes, and applies sweep B where all votes are good. A flight of another
  /// trainer, or a bad option, is refused and the flight left as it was.
  result<> try_land(flight&& f, land_options o = {}) { return told(settle(std::move(f), o)); }
  void land(flight&& f, land_options o = {}) { try_land(std::move(f), o).value(); }

  /// land(launch()): one round, now.
  result<> try_sync() { return told(one_round(false)); }
  void sync() { try_sync().value(); }

  [[nodiscard]] std::uint64_t steps() const { return steps_; }
  /// Whether the last step was left out.
  [[nodiscard]] bool skipped() const { return skipped_in_a_row_ != 0; }
  /// What the recipe's `rate` makes of the learning rate in the next inner step.
  [[nodiscard]] float rate_factor() const { return recipe_.rate.factor(steps_ + 1); }
  /// ‖grad_scale · g‖ over all tensors of the last step, before clipping; 0 where the recipe does not clip.
  /// Waits for the executor.
  [[nodiscard]] float gradient_norm() const;
  [[nodiscard]] std::uint64_t rounds() const { return rounds_; }
  [[nodiscard]] Transport& transport() { return recipe_.transport; }
  [[nodiscard]] Probe& probe() { return recipe_.probe; }
  [[nodiscard]] pattern exchange_pattern() const { return pattern_; }

  /// Forgets what was not said: zeros every residual and the feedback's common column. For a worker that
  /// joins, a new unit of the parameters, or a new data set; where there is a common column, all ranks must
  /// do it between the same two rounds.
  result<> try_reset_feedback();
  void reset_feedback() { try_reset_feedback().value(); }

  /// The whole contract on one line: policies, wire, exchange, schedule, exact costs.
  [[nodiscard]] std::string describe() const;

  /// Exactly what was asked for.
  [[nodiscard]] struct footprint footprint() const;

  /// Bytes that this rank sends in one round, message headers and padding included: what a transport
  /// counts. Of an odd number of ranks that pair, one sends nothing.
  [[nodiscard]] std::size_t wire_bytes_per_round() const { return sent_bytes(recipe_.transport.size() == 1); }

  /// One row of a column: `theta` (as trained, also under `show_mean`), `anchor`, `residual`, `outer.<slot>`,
  /// `inner.<slot>`. An error lists the names that there are. Lies where the executor keeps its columns;
  /// valid until state changes.
  [[nodiscard]] result<std::span<float const>> try_cell(std::string_view row, std::string_view column) const;
  [[nodiscard]] std::span<float const> cell(std::string_view row, std::string_view column) const {
    return try_cell(row, column).value();
  }

  /// Digest of θ̄: equal on all ranks after every round, unless they pair.
  [[nodiscard]] std::uint64_t digest() const {
    return digest_of_column(recipe_.executor, anchor_, layout_.column_elements());
  }

 private:
  static constexpr std::size_t outer_slots = slot_count<Outer>;
  static constexpr int padding = padding_of<Compressor>;
  using owner_type = owner_feedback<Feedback>;
  static constexpr bool owner_has_residual = carries_residual<Compressor, owner_type>;
  /// A residual in 8 bits has a scale per block, and finds it by the column.
  static constexpr int residual_padding =
      (has_residual && residual_bits<Feedback> == 8) || (owner_has_residual && residual_bits<owner_type> == 8)
          ? padding
          : 0;
  /// While it is written or replaced, a residual of plain floats is a staged compressor's workbench.
  static constexpr bool residual_is_workbench = has_residual && residual_bits<Feedback> == 32;
  static constexpr bool owner_is_workbench = owner_has_residual && residual_bits<owner_type> == 32;
  static constexpr bool agrees = agrees_on_memory<Compressor>;
  DiLoCo(recipe_type& r, layout l, std::uint32_t float_modes);
  template <class Parameters>
  [[nodiscard]] static result<DiLoCo> build(recipe_type& r, Parameters const& parameters);
  template <class Parameters>
  [[nodiscard]] static result<DiLoCo> build_or_tell(recipe_type& r, Parameters const& parameters);
  float* column(std::string name, std::size_t n) { return table_.add(recipe_.executor, std::move(name), n); }
  void allocate_stages(std::size_t own);
  void allocate_factor();
  [[nodiscard]] result<> start();
  [[nodiscard]] std::vector<contract_term> contract_terms() const;
  [[nodiscard]] result<> join();
  [[nodiscard]] result<> compare_with_peers();
  [[nodiscard]] result<> compare_anchors();

  [[nodiscard]] result<> usable(step_options const& o) const;
  [[nodiscard]] result<> room_for_a_step(step_options const& o) const;
  template <class Gradients>
  step_result take_step(Gradients const& gradients, step_options const& o);
  step_result count_outside_step(double tokens);
  step_result skip(double tokens, std::string_view why);
  template <class Gradients>
  [[nodiscard]] result<> accept(Gradients const& gradients, step_options const& o);
  template <class Gradients>
  void take(Gradients const& gradients);
  void adopt_shown(bool samples);
  void show(bool samples);
  [[nodiscard]] result<> shows_training_point(std::string_view call) const;
  void show_new_sample();
  [[nodiscard]] draw sample() const {
    return {samples_, static_cast<std::uint32_t>(recipe_.transport.rank()), 4};
  }
  [[nodiscard]] shown_rows shown(draw const& by) const;
  template <class Rows>
  [[nodiscard]] result<> find_non_finite(Rows const& rows, std::string_view what, float scale = 1.0f,
                                         float most = static_cast<float>(unbounded));
  [[nodiscard]] result<> find_too_large(std::string_view what, float scale);
  [[nodiscard]] result<> complaint_about_bad_row(std::string_view what);
  [[nodiscard]] result<> measure_gradients(step_options const& o);
  [[nodiscard]] bool clips() const { return recipe_.clip_norm < no_clipping; }
  void inner_sweep(step_options const& o);
  step_result count_step(double tokens);
  template <class F>
  [[nodiscard]] auto guard(std::string_view call, F&& f);
  template <class F>
  [[nodiscard]] auto ask(std::string_view call, F&& f);
  template <class Event>
  void tell(Event const& event);
  template <class R>
  [[nodiscard]] R told(R r);

  using arrival_type = arrival_of<Transport>;
  [[nodiscard]] result<> take_wires_back();
  [[nodiscard]] static std::size_t carried_by(recipe_type const& r);
  void list_carried();
  [[nodiscard]] element_weights weights() const;
  [[nodiscard]] carried_planes carried(std::size_t first_tile) const;
  void encode_contribution(std::byte* slots);
  void encode_share(arrival_type const& contributions);
  void average_carried(arrival_type const& a, bool sharded, std::byte* to_slot, float mix);
  template <class C = Compressor>
  [[nodiscard]] stage_work<C> work_on(float* x, wire_plan::shard const& s, std::byte* slots,
                                      memory_pair const& memory, std::uint32_t phase) const;
  [[nodiscard]] magnitude_limits limits() const;
  [[nodiscard]] message_header own_header(std::uint16_t phase, std::size_t payload, bool scheduled) const;
  [[nodiscard]] draw who(std::uint32_t phase) const;
  [[nodiscard]] int voices() const;
  [[nodiscard]] int partner() const;
  [[nodiscard]] std::size_t sent_bytes(bool to_nobody) const;
  void write_headers(std::byte* slots, std::size_t shards, std::size_t slot_bytes, bool must_move);
  void collect_headers(arrival_type const& a, std::size_t copies);
  [[nodiscard]] pending_of<Transport> send(int partner);
  [[nodiscard]] result<flight> launch_round(bool scheduled);
  [[nodiscard]] result<flight> encode_and_send(int meets, bool scheduled);
  [[nodiscard]] result<> one_round(bool scheduled);
  [[nodiscard]] result<arrival_type> receive(pending_of<Transport>& p);
  [[nodiscard]] result<> read_headers(arrival_type const& a, std::uint16_t phase, std::size_t own_shard,
                                      flight& f);
  [[nodiscard]] std::uint32_t refusal(cause c) const;
  [[nodiscard]] result<> vote(result<>& verdict, flight const& f);
  void send_vote(std::optional<pending_of<Transport>>& to, flight const& f, std::uint32_t refused);
  void send_share(std::optional<pending_of<Transport>>& to, flight const& f, std::uint32_t refused);
  [[nodiscard]] result<> count_votes(arrival_type const& a, flight const& f, bool knows);
  [[nodiscard]] result<> given_up(error e, flight const& f, bool owes_share);
  void let_peers_read() noexcept;
  [[nodiscard]] error unsendable(message_header const& got, int from, std::uint16_t phase) const;
  [[nodiscard]] result<> weigh(arrival_type const& a, flight& f);
  [[nodiscard]] result<arrival_type> combine_own_shard(arrival_type const& contributions, result<>& verdict,
                                                       flight const& f);
  [[nodiscard]] result<> settle(flight&& f, land_options const& o);
  [[nodiscard]] result<> land_wires(flight& f, land_options const& o);
  [[nodiscard]] result<> land_shares(arrival_type&& contributions, result<> verdict, flight& f,
                                     land_options const& o);
  [[nodiscard]] result<> end_of_round(result<> verdict, result<> done, flight const& f);
  [[nodiscard]] result<> aborted(error e, flight const& f);
  void apply(arrival_type const& a, bool sharded, float mix, flight const& f);
  void commit(flight const& f);
  [[nodiscard]] received_wires<Compressor> received(int voices, bool sharded, float* sums) const;
  [[nodiscard]] float* free_column(bool heard) const;
  DILOCO_COLD [[nodiscard]] error fail(cause why, std::string what) const {
    return {why, recipe_.transport.rank(), static_cast<long>(rounds_), "diloco: " + std::move(what)};
  }
  [[nodiscard]] error broken_by(error e);

  recipe_type recipe_;
  detail::hand_back<recipe_type> lent_;
  detail::last_wait<Executor> end_;
  layout layout_;
  pattern pattern_;
  wire_plan plan_;
  index_memory index_;
  table table_;
  round_wires wires_;
  std::size_t wire_bytes_ = 0;

  float* anchor_ = nullptr;
  residual_columns<residual_bits<Feedback>, padding> residual_;          // (column)
  residual_columns<residual_bits<owner_type>, padding> owner_residual_;  // (own shard)
  float* common_ = nullptr;
  bool has_copies_ = false;       // of θ
  float* mean_weight_ = nullptr;  // of a rule that weighs elements
  float* mean_anchor_ = nullptr;  // of an outer optimizer that wants it
  float* workbench_ = nullptr;    // of a staged compressor, where no residual can be it
  std::byte* scratch_ = nullptr;
  mirrored constants_;                 // of a staged compressor
  memory_pair memory_, owner_memory_;  // the second, of the own shard, unless all agree on the first
  inner_state<Inner> inner_;
  gradient_factor* factor_ = nullptr;  // where the inner sweep reads it and not an argument
  double* norm_partials_ = nullptr;    // (tiles), and of groups of them
  float* outer_state_[outer_slots + 1] = {};

  std::uint64_t steps_ = 0, rounds_ = 0;
  std::uint64_t steps_taken_ = 0;  // since the inner state was zeros: what bias corrections go by
  double weight_ = 0, wait_seconds_ = 0, total_weight_ = 0;
  std::uint32_t float_modes_ = 0;  // at construction
  std::uint64_t samples_ = 0;
  bool in_flight_ = false, shows_mean_ = false;
  std::uint64_t skipped_in_a_row_ = 0;
  draw rounded_by_;                 // what last wrote θ into the caller's bfloat16 tensors
  bool unskipped_ = false;          // a step was taken since the last round
  bool must_move_ = false;          // the framework took a step since the last round, so θ is not θ̄
  std::uint64_t agreed_steps_ = 0;  // those of the inner state, where it is averaged
  std::shared_ptr<detail::flight_watch> watch_ = std::make_shared<detail::flight_watch>();
  std::uint64_t run_ = 0, history_ = 0;
  std::optional<arrival_type> last_contribution_, last_share_, last_vote_;  // peers may still read our part
  std::vector<std::pair<pending_of<Transport>, bool>> unfinished_;  // after a failure; whether to wait for it
  std::unique_ptr<error> broken_;
#if DILOCO_EXCEPTIONS
  std::exception_ptr probe_threw_;
#endif
};

template <class... Policies, class Parameters>
DiLoCo(recipe<Policies...>, Parameters const&) -> DiLoCo<Policies...>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

// Before each member that is defined outside the class, and for its name.
#define DILOCO_ENGINE                                                                                   \
  template <class Inner, class Outer, class Compressor, class Transport, class Feedback, class Combine, \
            class Exchange, class Schedule, class Executor, class Probe, class Rate>
#define DILOCO_CLASS \
  DiLoCo<Inner, Outer, Compressor, Transport, Feedback, Combine, Exchange, Schedule, Executor, Probe, Rate>

#include <diloco/engine_foreign.hpp>

#include <diloco/engine_agreement.hpp>
#include <diloco/engine_caller.hpp>
#include <diloco/engine_construction.hpp>
#include <diloco/engine_contract.hpp>
#include <diloco/engine_launch.hpp>
#include <diloco/engine_round.hpp>
#include <diloco/engine_step.hpp>
