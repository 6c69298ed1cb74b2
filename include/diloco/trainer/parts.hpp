// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/inner/inner_state.hpp>
#include <diloco/recipe.hpp>
#include <diloco/round/passes.hpp>
#include <diloco/sweep/group_roles.hpp>
#include <diloco/trainer/core.hpp>
#include <diloco/trainer/settings.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Moves the recipe back to the caller unless keep() was called, so its transport can report the failure.
template <class Recipe>
class lent_recipe {
 public:
  explicit lent_recipe(Recipe& of) : mine(std::move(of)), lender_(&of) {}
  lent_recipe(lent_recipe const&) = delete;
  ~lent_recipe() {
    if (lender_ == nullptr) return;
    std::destroy_at(lender_);
    std::construct_at(lender_, std::move(mine));
  }
  void keep() { lender_ = nullptr; }
  Recipe mine;

 private:
  Recipe* lender_;
};

}  // namespace detail

/// Owns all parts of one trainer at fixed addresses: recipe, type-erased executor and transport, inner state,
/// passes, and the core that connects them.
template <class R>
class trainer_parts final : public trainer_policies {
  using Inner = typename R::inner_type;
  using Outer = typename R::outer_type;
  using C = typename R::compressor_type;
  using Transport = typename R::transport_type;
  using Combine = typename R::combine_type;
  using Executor = typename R::executor_type;
  using Back = second_compressor<typename R::exchange_type, C>;
  using Probe = typename R::probe_type;
  static constexpr bool steps_inside = !external_optimizer<Inner>;
  static constexpr bool weighs_elements = elementwise_combine<Combine>;
  static constexpr bool carries_anchor = wants_mean_anchor<Outer>;
  static constexpr bool of_gradient = says_gradient<typename R::signal_type>;
  static constexpr bool is_eager = R::schedule_type::traits.eager;

 public:
  trainer_parts(R& r, layout l, std::uint32_t float_modes);
  trainer_parts(trainer_parts const&) = delete;
  ~trainer_parts() override {
    core.rounds->let_peers_read();
    // Kernels may still use this memory. If the device has failed, the error of wait() is ignored.
    static_cast<void>(guarded([](cause, std::string_view) { return error{}; }, [&] { where_.wait(); }));
  }
  /// Checks the parameters and copies θ into the anchor.
  [[nodiscard]] result<> start();
  /// Construction succeeded: this trainer keeps the recipe.
  void keep() { lent_.keep(); }
  [[nodiscard]] R& recipe() { return lent_.mine; }
  [[nodiscard]] R const& recipe() const { return lent_.mine; }
  [[nodiscard]] footprint memory() const {
    return {core.model.parameters(), core.state->bytes(), core.rounds->message_bytes(),
            core.lookup->bytes() + core.rounds->table_bytes() + passes_->constant_bytes(),
            core.state->placed_bytes()};
  }
  [[nodiscard]] std::string describe() const;

  template <class Gradients>
  step_result step(Gradients const& gradients, step_options const& o) {
    auto fine = core.accept(gradients, o);
    if (!fine && o.skip_not_finite && fine.error().what == cause::not_finite)
      return core.skip(0, fine.error().message);
    if (!fine) return std::move(fine).error();
    core.run.skipped_in_a_row = 0;
    if (auto stepped = core.run.guard("step", [&] { inner_sweep(o); }); !stepped)
      return std::move(stepped).error();
    return core.count_step(o.tokens, trainer_core::kind::taken);
  }

  // round_policies:
  void encode(round_flight const& f, std::byte* to) override { passes_->encode(f, to); }
  void encode_share(round_flight const& f, int contributors, std::byte* to) override {
    passes_->encode_share(f, contributors, to);
  }
  void apply(round_flight const& f, int contributors, bool sharded, float mix) override {
    passes_->apply(f, contributors, sharded, mix, callers_copy(core.run.rounded_by = {f.number, 0, 3}));
  }
  void adopt_callers_copy(round_flight const& f) override {
    layout::fragment const& part = f.plan.fragment();
    callers_rows const from = callers_copy({});
    if constexpr (inner_state<Inner>::has_samples) {
      if (from.narrow == nullptr) return;
      inner_.adopt(recipe().executor, recipe().inner, core.model, *core.lookup, from);
    } else {
      adopt_tiles(from, part.first_tile, part.tiles);
    }
  }
  void adopt_everything() override {
    adopt_tiles(callers_copy({}), 0, core.lookup->tile_count());
    passes_->forget_limit(where_);
  }
  void commit(round_flight const& f) override {
    if (recipe().inner_at_sync == at_sync::reset) {
      inner_.reset(recipe().executor);
      core.run.steps_taken = 0;
    }
    if (recipe().inner_at_sync == at_sync::average) core.run.steps_taken = f.agreed_steps;
    core.show_new_sample();
  }
  bool coefficients(std::span<double const> weights, std::span<float> out) const override {
    return recipe().combine.coefficients(weights, out);
  }
  int partner(std::uint64_t round) const override {
    int const rank = recipe().transport.rank();
    if constexpr (pairing_exchange<typename R::exchange_type>)
      return recipe().exchange.partner(round, rank, recipe().transport.size());
    else
      return rank;
  }
  void tell([[maybe_unused]] inner_stepped const& e) override {
    if constexpr (hears<Probe, inner_stepped>) tell_probe(e);
  }
  void tell([[maybe_unused]] round_launched const& e) override {
    if constexpr (hears<Probe, round_launched>) tell_probe(e);
  }
  void tell([[maybe_unused]] round_landed const& e) override {
    if constexpr (hears<Probe, round_landed>) tell_probe(e);
  }
  void tell([[maybe_unused]] round_aborted const& e) override {
    if constexpr (hears<Probe, round_aborted>) tell_probe(e);
  }
  // trainer_policies:
  action_list after(std::uint64_t steps) const override { return recipe().schedule.after(steps); }
  float rate_factor(std::uint64_t step) const override { return recipe().rate.factor(step); }
  contract_settings settings() const override {
    constexpr std::string_view at_sync[] = {"keep", "reset", "average"};
    constexpr std::string_view roundings[] = {"nearest", "stochastic"};
    R const& r = recipe();
    return {detail::list_policies(r),
            legs_.name,
            at_sync[static_cast<std::size_t>(r.inner_at_sync)],
            roundings[static_cast<std::size_t>(r.bf16_rounding)],
            float_modes_,
            r.clip_norm,
            r.seed,
            r.max_skipped_steps};
  }
  std::span<float const> inner_cell(layout::row const& r, std::string_view slot) const override {
    return inner_.cell(r, slot);
  }
  std::vector<std::string_view> inner_slots(layout::row const& r) const override {
    return inner_.slot_names(r);
  }
  std::span<float const> hidden_theta([[maybe_unused]] layout::row const& r) const override {
    if constexpr (inner_state<Inner>::has_views) {
      if (core.run.shows_mean) return inner_.kept(r);
    }
    return {};
  }
  std::span<char> tensor_steps() override { return inner_.tensor_steps(); }
  std::span<std::uint32_t> row_beyond_limit() override { return passes_->row_beyond_limit(); }
  void show(bool samples) override;

 private:
  [[nodiscard]] static std::size_t planes_of(R const& r) {
    return (r.inner_at_sync == at_sync::average ? inner_state<Inner>::planes : 0) + (carries_anchor ? 1 : 0) +
           (weighs_elements ? 1 : 0);
  }
  /// One per fragment. Writes into the model's tiles where they lie.
  template <class Sent>
  [[nodiscard]] std::vector<wire_plan> plans() {
    std::vector<wire_plan> all;
    for (std::size_t i = 0; i < core.model.fragments().size(); ++i)
      all.push_back(wire_plan::of<Sent>(core.model, legs_.shard_count(over_.size()), planes_of(recipe()), i));
    return all;
  }
  [[nodiscard]] std::string describe_messages(double payload) const;
  [[nodiscard]] std::string describe_legs() const;
  void list_auxiliary(round_flight const& f) const;
  void list_over_rows(round_flight const& f, std::size_t plane, float* from, float* to) const;
  void adopt_tiles(callers_rows const& from, std::size_t first, std::size_t count) const;
  void inner_sweep(step_options const& o);
  void step_inner(step_options const& o);
  [[nodiscard]] callers_rows callers_copy(draw const& by) const {
    if (!has_copies_) return {};
    return {(*core.lookup)->bf16, (*core.lookup)->samples, recipe().bf16_rounding == rounding::stochastic,
            recipe().seed, by};
  }
  [[nodiscard]] draw sample() const {
    return {core.run.samples, static_cast<std::uint32_t>(over_.rank()), 4};
  }
  /// The coefficient of a rank's message if all have the same weight.
  [[nodiscard]] float own_share() const {
    if (!is_eager) return 0;
    auto const ranks = static_cast<std::size_t>(over_.size());
    std::vector<double> const equal(ranks, 1.0);
    std::vector<float> shares(ranks);
    return coefficients(equal, shares) ? shares[static_cast<std::size_t>(over_.rank())] : 0.0f;
  }
  template <class Event>
  void tell_probe(Event const& e) {
    core.call(recipe().probe, e);
  }

  detail::lent_recipe<R> lent_;
  backend_on<Executor> where_;
  transport_link_over<Transport, Executor> over_;
  leg_list legs_;
  std::uint32_t float_modes_;
  bool has_copies_ = false;  // some θ is a float32 copy of the caller's tensor
  inner_state<Inner> inner_;
  std::optional<passes<R>> passes_;

 public:
  trainer_core core;
};

template <class R>
DILOCO_COLD trainer_parts<R>::trainer_parts(R& r, layout l, std::uint32_t float_modes)
    : lent_(r),
      where_(recipe().executor),
      over_(recipe().transport, recipe().executor, where_),
      legs_(recipe().exchange.legs(over_.size())),
      float_modes_(float_modes),
      core(where_, over_, *this, std::move(l),
           {R::rate_type::name, Outer::name, steps_inside, inner_state<Inner>::has_samples,
            traits_of<Outer>.wants_constant_inner_rate, of_gradient, recipe().max_skipped_steps,
            recipe().deadline_seconds}) {
  std::vector<wire_plan> combined;
  std::vector<tile> combined_tiles;
  if constexpr (recodes<typename R::exchange_type>) {
    combined = plans<Back>();
    combined_tiles = core.model.tiles();
  }
  std::vector<wire_plan> const all = plans<C>();
  std::size_t const n = core.model.column_elements();
  bool const owns = legs_.count > 1;
  has_copies_ = core.model.copied_elements() != 0;
  core.open_state(all.size(), combined_tiles);
  passes_.emplace(recipe(), *core.lookup, over_.rank(), legs_.shard_of(over_.rank()));
  passes_->allocate(*core.state, where_, core.model, all, owns);
  core.anchor = passes_->anchor();
  core.model.place_copies(
      core.state->add_floats(where_, "theta", column_kind::theta, core.model.copied_elements()));
  inner_.allocate(where_, *core.state, core.model, recipe().inner);
  if constexpr (weighs_elements) {
    static_assert(inner_state<Inner>::has_slot(Combine::weighs_by),
                  "diloco: combine: weighs elements by a slot that the inner optimizer has not; "
                  "precision_weighted wants "
                  "ivon's h");
  }
  passes_->allocate_means(*core.state, where_, n);
  auto flights = make_flights(over_, legs_, all, combined, core.model.rows().size());
  std::shared_ptr<round_flight> next;
  if constexpr (is_eager) next = make_flights(over_, legs_, all, combined, core.model.rows().size())[0];
  for (auto const& f : flights) {
    list_auxiliary(*f);
    f->table.upload(where_);
  }
  if (next != nullptr) next->table.upload(where_);
  core.open_rounds({Inner::name, inner_state<Inner>::largest(recipe().inner),
                    inner_state<Inner>::has_tensor_steps, recipe().clip_norm},
                   {legs_, C::largest <= Back::largest ? C::name : Back::name,
                    C::largest < Back::largest ? C::largest : Back::largest, Outer::name, Combine::name,
                    R::exchange_type::name, passes_->limits(),
                    keeps_estimate<typename R::feedback_type> && passes<R>::has_residual,
                    of_gradient ? R::signal_type::name : std::string_view("pseudo-gradient"), carries_anchor,
                    of_gradient, recipe().deadline_seconds, is_eager, own_share()},
                   std::move(flights), std::move(next));
}

template <class R>
DILOCO_COLD result<> trainer_parts<R>::start() {
  adopt_everything();
  lookup_table const& lookup = *core.lookup;
  if constexpr (DILOCO_CHECKS >= DILOCO_CHECKS_LIGHT) {
    if (auto fine = core.check_theta("the parameter"); !fine) return fine;
  }
  if constexpr (!of_gradient)
    where_.for_each(lookup.tile_count(), copy_to_anchor_kernel{lookup->tiles, lookup->theta, core.anchor});
  for (auto const& f : core.rounds->flights()) passes_->begin(*f);
  where_.wait();
  return {};
}

/// Plane order: averaged inner slots, then the anchor, then the weights of an element-wise combine rule. Rows
/// without a weight slot send no weight plane.
template <class R>
DILOCO_COLD void trainer_parts<R>::list_auxiliary(round_flight const& f) const {
  std::size_t const planes = f.plan.planes();
  if (planes == 0) return;
  auto const& host = f.table.host();
  if (recipe().inner_at_sync == at_sync::average) {
    inner_.list(core.model, host.auxiliary_from, planes);
    inner_.list(core.model, host.auxiliary_to, planes);
  }
  if constexpr (carries_anchor)
    list_over_rows(f, planes - (weighs_elements ? 2 : 1), core.anchor, passes_->mean_anchor());
  if constexpr (weighs_elements) {
    list_over_rows(f, planes - 1, core.anchor, passes_->mean_weight());
    inner_.list(core.model, Combine::weighs_by, host.auxiliary_from + planes - 1, planes);
    for (std::size_t at = planes - 1; at < core.model.rows().size() * planes; at += planes) {
      if (host.auxiliary_from[at] == nullptr) host.auxiliary_to[at] = nullptr;
    }
  }
}

template <class R>
DILOCO_COLD void trainer_parts<R>::list_over_rows(round_flight const& f, std::size_t plane, float* from,
                                                  float* to) const {
  for (std::size_t r = 0; r < core.model.rows().size(); ++r) {
    layout::row const& row = core.model.rows()[r];
    if (row.frozen) continue;
    f.table.host().auxiliary_from[r * f.plan.planes() + plane] = from + row.column;
    f.table.host().auxiliary_to[r * f.plan.planes() + plane] = to + row.column;
  }
}

/// θ ← the caller's tensors, in rows where θ is a float32 copy. Values that the caller left alone keep the
/// bits of θ. Also reads tensors that show samples of θ. Enqueues; does nothing if no θ is a copy.
/// Every element is stored: 10 B/param of bfloat16 tensors, 8 B/param of float32 tensors.
template <class R>
void trainer_parts<R>::adopt_tiles(callers_rows const& from, std::size_t first, std::size_t count) const {
  if (from.narrow == nullptr) return;
  lookup_table const& lookup = *core.lookup;
  where_.for_each(count, adopt_kernel{lookup->tiles + first, from, lookup->theta});
}

template <class R>
void trainer_parts<R>::show([[maybe_unused]] bool samples) {
  [[maybe_unused]] run_state& run = core.run;
  if constexpr (inner_state<Inner>::has_views) {
    if (samples == run.shows_mean) {  // otherwise the tensors show it already
      inner_.allocate_views(where_, *core.state, recipe().inner, has_copies_);
      inner_.show_view(recipe().executor, recipe().inner, core.model, *core.lookup,
                       callers_copy(run.rounded_by), !samples);
      run.shows_mean = !samples;
    }
  }
  if constexpr (inner_state<Inner>::has_samples) {
    inner_.show(recipe().executor, recipe().inner, core.model, *core.lookup,
                {{run.steps_taken + 1, 1.0f}, 1.0f, nullptr, callers_copy({}), sample()}, samples);
    run.shows_mean = !samples;
  }
}

template <class R>
void trainer_parts<R>::inner_sweep(step_options const& o) {
  core.intake->scale_only(o.grad_scale);
  if constexpr (of_gradient) {
    ++core.run.steps_taken;
    passes_->scale_gradients(o.grad_scale, core.intake->factor());
  } else {
    step_inner(o);
  }
}

template <class R>
void trainer_parts<R>::step_inner(step_options const& o) {
  run_state& run = core.run;
  step_context const context{++run.steps_taken, product(o.lr_scale, recipe().rate.factor(run.steps + 1))};
  ++run.samples;
  run.rounded_by = {run.steps, static_cast<std::uint32_t>(over_.rank()), 2};
  inner_.step(recipe().executor, recipe().inner, core.model, *core.lookup,
              {context, o.grad_scale, core.intake->factor(), callers_copy(run.rounded_by), sample()});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#include <diloco/trainer/describe.hpp>
