// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/combine.hpp>
#include <diloco/concepts/traffic.hpp>
#include <diloco/round/flight.hpp>
#include <diloco/state/columns.hpp>
#include <diloco/state/lookup_table.hpp>
#include <diloco/sweep/apply_outer.hpp>
#include <diloco/sweep/encode.hpp>
#include <diloco/sweep/encode_gradient.hpp>
#include <diloco/sweep/staged.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Current and next memory of a staged compressor.
struct memory_pair {
  float *now = nullptr, *next = nullptr;
  std::size_t first = 0;  // index of the first element, counted over all slices
};

/// Pass A and pass B of a recipe, and the columns that they read and write. `encode`, `encode_share`, `apply`
/// and `begin` enqueue.
template <class R>
class passes {
  using C = typename R::compressor_type;
  using Outer = typename R::outer_type;
  using Feedback = typename R::feedback_type;
  using Combine = typename R::combine_type;
  using Executor = typename R::executor_type;
  using Signal = typename R::signal_type;
  using owner_type = owner_feedback<Feedback>;
  /// Compressor of the messages that pass B reads after a leg that combines.
  using Back = second_compressor<typename R::exchange_type, C>;
  static constexpr bool is_recoded = recodes<typename R::exchange_type>;
  static constexpr int padding = padding_of<C>;
  static constexpr std::size_t outer_slots = slot_count<Outer>;
  static constexpr bool is_staged = staged_compressor<C>;
  static constexpr bool agrees = agrees_on_memory<C>;
  static constexpr bool weighs_elements = elementwise_combine<Combine>;
  static constexpr bool carries_anchor = wants_mean_anchor<Outer>;
  using Groups = std::conditional_t<grouping_exchange<typename R::exchange_type> && block_compressor<Back>,
                                    group_messages, void>;
  using Rule = std::conditional_t<sees_each<Combine>, Combine, Groups>;
  static constexpr bool of_gradient = says_gradient<Signal>;
  using residual_type = residual_columns<residual_bits<Feedback>, padding>;
  using owner_residual_type = residual_columns<residual_bits<owner_type>, padding>;

 public:
  static constexpr bool has_residual = carries_residual<C, Feedback>;
  static constexpr bool owner_has_residual = carries_residual<Back, owner_feedback<Feedback>>;
  /// An 8-bit residual has one scale per block, so its rows are padded to blocks.
  static constexpr int residual_padding =
      (has_residual && residual_bits<Feedback> == 8) || (owner_has_residual && residual_bits<owner_type> == 8)
          ? padding
          : 0;

  /// `shard`: the one that this rank combines.
  passes(R const& recipe, lookup_table const& lookup, int rank, int shard)
      : recipe_(recipe), lookup_(lookup), rank_(static_cast<std::uint32_t>(rank)), shard_(shard) {}
  /// `owns`: this rank combines a shard of each fragment.
  void allocate(state_columns& state, memory_source const& where, layout const& l,
                std::vector<wire_plan> const& plans, bool owns);
  void allocate_means(state_columns& state, memory_source const& where, std::size_t n);
  [[nodiscard]] float* anchor() const { return anchor_; }
  [[nodiscard]] float* mean_anchor() const { return mean_anchor_; }
  [[nodiscard]] float* mean_weight() const { return mean_weight_; }
  [[nodiscard]] std::size_t constant_bytes() const { return constants_.bytes(); }

  /// The factor of the gradients that the next round sends.
  void scale_gradients(float grad_scale, float const* factor) {
    grad_scale_ = grad_scale;
    factor_ = factor;
  }
  /// θ may be below its limit again. Enqueues.
  void forget_limit(memory_source const& where) const {
    if constexpr (of_gradient) {
      auto* const host = reinterpret_cast<std::uint32_t*>(too_large_.host());
      *host = message_header::no_row;
      too_large_.upload(where, host, host + 1);
    }
  }
  [[nodiscard]] std::span<std::uint32_t> row_beyond_limit() const {
    if constexpr (of_gradient)
      return {too_large_.seen_as<std::uint32_t>(), 1};
    else
      return {};
  }
  void encode(round_flight const& f, std::byte* to) const;
  void encode_share(round_flight const& f, int contributors, std::byte* to) const;
  /// `callers`: the caller's tensors that get a copy of θ.
  void apply(round_flight const& f, int contributors, bool sharded, float mix,
             callers_rows const& callers) const;
  /// Initializes memory that all ranks share (agrees_on_memory).
  void begin(round_flight const& f) const;

  /// Outer steps may exceed the encoded maximum: 2× for decoding, 4× with an estimate, 1/prior if weighted
  /// with prior < 1. The limits keep them below the outer optimizer's bound.
  [[nodiscard]] magnitude_limits limits() const {
    magnitude_limits m;
    float outer = recipe_.outer.largest() * (keeps_estimate<Feedback> ? 0.25f : 0.5f);
    if constexpr (R::schedule_type::traits.eager) outer *= 0.5f;  // coefficients add up to at most 2
    if constexpr (weighs_elements) outer *= recipe_.combine.prior < 1.0f ? recipe_.combine.prior : 1.0f;
    m.sent = C::largest < Back::largest ? C::largest : Back::largest;
    if (outer < m.sent) m.sent = outer;
    // Weight decay and NoLoCo also step by the anchor. An anchor above the bound means a diverged run.
    if (recipe_.outer.largest() < m.anchor) m.anchor = recipe_.outer.largest();
    m.estimate = keeps_estimate<Feedback> ? m.sent : static_cast<float>(unbounded);
    return m;
  }

 private:
  [[nodiscard]] Back const& back() const {
    if constexpr (is_recoded)
      return recipe_.exchange.second;
    else
      return recipe_.compressor;
  }
  /// A 32-bit residual column doubles as the staged compressor's work buffer.
  static constexpr bool residual_is_workbench = has_residual && residual_bits<Feedback> == 32;
  static constexpr bool owner_is_workbench = owner_has_residual && residual_bits<owner_type> == 32;

  void allocate_signal(state_columns& state, memory_source const& where);
  void allocate_stages(state_columns& state, memory_source const& where, bool owns);
  [[nodiscard]] draw stream(round_flight const& f, std::uint32_t phase) const {
    return {f.number, rank_, phase};
  }
  [[nodiscard]] element_weights weights(round_flight const& f) const {
    if constexpr (weighs_elements)
      return {f.table->auxiliary_from + f.plan.planes() - 1, f.plan.planes(), recipe_.combine.prior};
    else
      return {};
  }
  [[nodiscard]] residual_type residual(std::size_t fragment) const {
    if (residual_ == nullptr) return {};
    return {residual_->current(fragment), residual_->next(fragment), elements_};
  }
  [[nodiscard]] owner_residual_type owner_residual(std::size_t fragment) const {
    if (owner_residual_ == nullptr) return {};
    own_part const& own = own_[fragment];
    return {owner_residual_->current(fragment) + own.residual, owner_residual_->next(fragment) + own.residual,
            own.elements};
  }
  [[nodiscard]] memory_pair memory(std::size_t fragment) const {
    if (memory_ == nullptr) return {};
    std::size_t const at = own_[fragment].memory;
    return {memory_->current(fragment) + at, memory_->next(fragment) + at, 0};
  }
  [[nodiscard]] memory_pair owner_memory(std::size_t fragment) const {
    if (owner_memory_ == nullptr) return {};
    own_part const& own = own_[fragment];
    return {owner_memory_->current(fragment) + own.owner_memory,
            owner_memory_->next(fragment) + own.owner_memory, own.first_memory};
  }
  /// Residual buffer that this commit discards; pass B uses it for sums. Without a 32-bit residual:
  /// the workbench.
  [[nodiscard]] float* free_column(std::size_t fragment, bool counted) const {
    if (!residual_is_workbench) return workbench_;
    return counted ? residual_->current(fragment) : residual_->next(fragment);
  }
  [[nodiscard]] received_wires<C, Rule> received(round_flight const& f, int contributors, bool sharded,
                                                 float* sums) const;
  /// What pass B reads.
  [[nodiscard]] auto received_last(round_flight const& f, int contributors, bool sharded) const {
    if constexpr (is_recoded)
      return received_wires<Back, Groups>{recipe_.exchange.second, f.table->messages, f.table->coefficients,
                                          contributors, sharded};
    else
      return received(f, contributors, sharded, free_column(f.fragment, f.counted));
  }
  [[nodiscard]] gradient_source<Signal> gradients(std::size_t fragment) const {
    if constexpr (of_gradient) {
      bool const keeps = signal_ != nullptr;
      return {recipe_.signal.at(),
              {lookup_->gradients, lookup_->gradient_is_bf16},
              grad_scale_,
              factor_,
              keeps ? signal_->current(fragment) : nullptr,
              keeps ? signal_->next(fragment) : nullptr,
              too_large_.seen_as<std::uint32_t const>()};
    } else {
      return {};
    }
  }
  /// What a round says, as a source for the stages of a compressor.
  [[nodiscard]] auto source(round_flight const& f, feedback_step<Feedback> const& step) const {
    if constexpr (of_gradient)
      return local_gradient<Feedback, padding, Signal>{step, gradients(f.fragment), residual(f.fragment),
                                                       limits()};
    else
      return local_delta<Feedback, padding, weighs_elements>{
          step, lookup_->theta, anchor_, residual(f.fragment), limits(), weights(f)};
  }
  template <class T = C>
  [[nodiscard]] stage_work<T> work_on(float* x, round_flight const& f, wire_plan::shard const& s,
                                      std::byte* slots, memory_pair const& memory, std::uint32_t phase) const;

  /// Offsets of one fragment in columns that do not follow the row layout.
  struct own_part {
    std::size_t elements = 0, residual = 0, memory = 0, owner_memory = 0, first_memory = 0;
  };

  R const& recipe_;
  lookup_table const& lookup_;
  std::uint32_t rank_;
  int shard_;
  std::size_t elements_ = 0;   // length of a padded column
  std::vector<own_part> own_;  // (fragments)
  std::size_t own_elements_ = 0, memory_floats_ = 0, owner_memory_floats_ = 0, scratch_bytes_ = 0;
  float* anchor_ = nullptr;
  state_column *residual_ = nullptr, *owner_residual_ = nullptr, *memory_ = nullptr, *owner_memory_ = nullptr;
  float* estimate_ = nullptr;  // shared by all ranks; null if the feedback keeps none
  float* outer_state_[outer_slots + 1] = {};
  float* mean_weight_ = nullptr;  // null unless the combine rule weighs elements
  float* mean_anchor_ = nullptr;  // null unless the outer optimizer wants it
  float* workbench_ = nullptr;    // staged only; null if residuals serve as work buffers
  std::byte* scratch_ = nullptr;  // staged only, like `constants_`
  mirrored constants_;
  // Of a signal that is made of the gradient.
  state_column* signal_ = nullptr;
  mirrored too_large_;  // first row whose θ is beyond the limit
  float grad_scale_ = 1.0f;
  float const* factor_ = nullptr;
};

template <class R>
template <class T>
stage_work<T> passes<R>::work_on(float* x, round_flight const& f, wire_plan::shard const& s, std::byte* slots,
                                 memory_pair const& memory, std::uint32_t phase) const {
  return {recipe_.compressor,
          lookup_->tiles + s.first_tile,
          f.table->slices,
          x,
          s.column,
          slots,
          f.plan.slot_bytes(),
          scratch_,
          constants_.seen_as<float const>(),
          memory.now,
          memory.next,
          stream(f, phase),
          memory.first};
}

template <class R>
void passes<R>::encode(round_flight const& f, std::byte* to) const {
  auto const step = recipe_.feedback.at(f.number);
  layout::fragment const& part = f.plan.fragment();
  if constexpr (is_staged) {
    wire_plan::shard const all{part.first_tile, part.tiles, 0, 0, 0, 0, f.plan.slices().size(), 0, 0};
    float* const x = residual_is_workbench ? residual_->next(f.fragment) : workbench_;
    run_stages(
        recipe_.executor, work_on(x, f, all, to, memory(f.fragment), 0),
        stage_extent{all.tiles, 0, all.slices}, source(f, step),
        keeper<feedback_step<Feedback>, residual_bits<Feedback>, padding>{step, 0, residual(f.fragment)},
        f.table->bad_row, limits().sent);
  } else if constexpr (of_gradient) {
    recipe_.executor.for_each(part.tiles, encode_gradient_kernel<C, Feedback, Signal>{
                                              recipe_.compressor, step, gradients(f.fragment),
                                              lookup_->tiles + part.first_tile, residual(f.fragment), to,
                                              f.plan.slot_bytes(), f.table->bad_row, stream(f, 0), limits()});
  } else {
    recipe_.executor.for_each(
        part.tiles, encode_kernel<C, Feedback, weighs_elements>{
                        recipe_.compressor, step, lookup_->tiles + part.first_tile, lookup_->theta, anchor_,
                        residual(f.fragment), to, f.plan.slot_bytes(), f.table->bad_row, stream(f, 0),
                        limits(), weights(f)});
  }
}

template <class R>
auto passes<R>::received(round_flight const& f, int contributors, bool sharded,
                         [[maybe_unused]] float* sums) const -> received_wires<C, Rule> {
  received_wires<C, Rule> r{recipe_.compressor, f.table->messages, f.table->coefficients, contributors,
                            sharded};
  if constexpr (sees_each<Combine>) r.rule = recipe_.combine;
  if constexpr (is_staged) {
    r.slices = f.table->slices;
    r.constants = constants_.seen_as<float const>();
    r.sums = sums;
    r.stream = draw{f.number, 0, 0};
    r.memory = memory(f.fragment).now;
  }
  return r;
}

template <class R>
void passes<R>::encode_share(round_flight const& f, int contributors, std::byte* to) const {
  wire_plan::shard const own = f.plan[shard_];
  auto const step = recipe_.feedback.owner().at(f.number);
  owner_residual_type const residual = owner_residual(f.fragment);
  if constexpr (is_staged) {
    // The workbench holds this shard alone if the residual is the main workbench and there is one fragment.
    // Otherwise it is a column over all rows.
    bool const shard_alone = residual_is_workbench && own_.size() == 1;
    float* const x = owner_is_workbench ? residual.to : workbench_ + (shard_alone ? 0 : own.column);
    auto work = work_on(x, f, own, to, agrees ? memory(f.fragment) : owner_memory(f.fragment), 1);
    work.slot_bytes = 0;  // one slot, whatever the shard
    run_stages(
        recipe_.executor, work, stage_extent{own.tiles, own.first_slice, own.slices},
        combined_delta<C, owner_type, padding>{received(f, contributors, false, nullptr), step, own.column,
                                               residual},
        keeper<feedback_step<owner_type>, residual_bits<owner_type>, padding>{step, own.column, residual},
        f.table->bad_row, limits().sent);
  } else {
    recipe_.executor.for_each(
        own.tiles, combine_shard_kernel<C, owner_type, Rule, Back>{
                       received(f, contributors, false, nullptr), back(), step,
                       lookup_->tiles + own.first_tile, lookup_->combined_tiles + own.first_tile, own.column,
                       residual, to, f.table->bad_row, stream(f, 1), limits().sent});
  }
}

template <class R>
void passes<R>::apply(round_flight const& f, int contributors, bool sharded, float mix,
                      callers_rows const& callers) const {
  auto const step = recipe_.outer.at(step_context{f.number + 1, 1.0f});
  layout::fragment const& part = f.plan.fragment();
  apply_outer_kernel<Back, std::remove_const_t<decltype(step)>, outer_slots, weighs_elements, carries_anchor,
                     of_gradient, std::conditional_t<is_recoded, Groups, Rule>>
      kernel{received_last(f, contributors, sharded),
             step,
             mix,
             (is_recoded ? lookup_->combined_tiles : lookup_->tiles) + part.first_tile,
             lookup_->theta,
             anchor_,
             {}};
  for (std::size_t s = 0; s != outer_slots; ++s) kernel.slots[s] = outer_state_[s];
  kernel.estimate = estimate_;
  if constexpr (mean_residual<Feedback> && has_residual)
    kernel.mean_residual = f.counted ? residual_->next(f.fragment) : nullptr;
  kernel.callers = callers;
  kernel.weights = weights(f);
  kernel.mean_weight = mean_weight_;
  kernel.mean_anchor = mean_anchor_;
  if constexpr (of_gradient) {
    kernel.too_large = too_large_.seen_as<std::uint32_t>();
    kernel.largest = limits().anchor;
  }
  recipe_.executor.for_each(part.tiles, kernel);
  if constexpr (agrees)
    recipe_.executor.for_each(f.plan.slices().size(), agree_kernel<C>{kernel.wires, memory(f.fragment).next});
}

template <class R>
DILOCO_COLD void passes<R>::begin([[maybe_unused]] round_flight const& f) const {
  if constexpr (agrees)
    recipe_.executor.for_each(f.plan.slices().size(),
                              agree_kernel<C>{received(f, 0, false, nullptr), memory(f.fragment).now});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#include <diloco/round/passes_memory.hpp>
