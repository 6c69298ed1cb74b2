// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/engine.hpp>
#include <diloco/sweep/copy.hpp>

// Members of DiLoCo that run once: memory, checks, the contract with the peers, and what it says of itself.

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Bytes per parameter that a round of k ranks moves through this rank's memory. `owns`: a shard, under
/// scatter-gather; `heard`: contributions that it reads at first.
template <class Inner, class Outer, class Compressor, class Feedback>
DILOCO_COLD double round_bytes(layout const& l, wire_plan const& plan, bool owns, int k, int heard) {
  double const parameters = static_cast<double>(l.parameters());
  double const wires = owns ? 1 : heard, owner = owns ? 1 + 1.0 / k : 0;
  double round = encode_bytes<Compressor, Feedback> + apply_outer_bytes<Compressor, Outer, Feedback>(wires);
  if (owns) round += combine_bytes<Compressor, Feedback>(k);
  double const payload = static_cast<double>(plan.payload_bytes()) / parameters;
  // Checksums read each message once at its sender and once at each reader, slots that travel with it.
  if (k != 1)
    round += (payload + 4.0 * static_cast<double>(plan.carried())) * (1 + (owns ? 2 + 1.0 / k : heard));
  // What is shown of a copy, and, where it shows θ and no samples, read back with it.
  round +=
      (inner_state<Inner>::has_samples ? 2.0 : 8.0) * static_cast<double>(l.copied_elements()) / parameters;
  // Slots that travel: written and read at either end, and once more by their owner.
  round += 4.0 * static_cast<double>(plan.carried()) * (3 + wires + owner);
  if constexpr (staged_compressor<Compressor>) {
    // What is sent once for a tensor is in no constant of the type. It is read for the sum, and once more
    // where the next memory is made of it.
    double const times = agrees_on_memory<Compressor> ? 2 * wires : wires;
    round += (payload - wire_bytes_per_parameter<Compressor>)*(1 + times + owner);
  }
  return round;
}

}  // namespace detail

DILOCO_ENGINE
DILOCO_CLASS::DiLoCo(recipe_type& r, layout l, std::uint32_t float_modes)
    : recipe_(std::move(r)),
      lent_(recipe_, r),
      end_(recipe_.executor),
      layout_(std::move(l)),
      pattern_(recipe_.exchange.pick(recipe_.transport.size())),
      plan_(wire_plan::of<Compressor>(
          layout_, pattern_ == pattern::scatter_gather ? recipe_.transport.size() : 1, carried_by(recipe_))),
      index_(recipe_.executor, layout_, plan_, voices()),
      wires_(round_wires::allocate<Transport>(recipe_.executor, plan_, pairs_ranks ? voices() - 1 : voices(),
                                              recipe_.transport.size(), pattern_ == pattern::scatter_gather)),
      wire_bytes_(wires_.bytes()),
      float_modes_(float_modes) {
  std::size_t const n = layout_.column_elements();
  anchor_ = column("anchor", n);
  has_copies_ = layout_.copied_elements() != 0;
  layout_.place_copies(column("theta", layout_.copied_elements()));
  bool const owns = pattern_ == pattern::scatter_gather;
  std::size_t const own = owns ? plan_[recipe_.transport.rank()].elements : 0;
  auto const residual = [&](auto& which, std::string const& name, std::size_t elements) {
    std::size_t const floats = std::remove_cvref_t<decltype(which)>::floats(elements);
    which = {column(name, floats), column(name + ".next", floats), elements};
  };
  if constexpr (has_residual) {
    static_assert(!mean_residual<Feedback> || residual_bits<Feedback> == 32,
                  "diloco: feedback: a mean residual is kept in 32 bits");
    residual(residual_, "residual", n);
    if constexpr (keeps_common<Feedback>) common_ = column("common", n);
  }
  if constexpr (owner_has_residual) {
    if (owns) residual(owner_residual_, "owner_residual", own);
  }
  if constexpr (is_staged) allocate_stages(own);
  for (std::size_t s = 0; s != outer_slots; ++s)
    outer_state_[s] = column("outer." + std::string(Outer::slots[s]), n);
  inner_.allocate(recipe_.executor, table_, layout_, recipe_.inner);
  if constexpr (weighs_elements) {
    static_assert(inner_state<Inner>::has_slot(Combine::weighs_by),
                  "diloco: combine: weighs elements by a slot that the inner optimizer has not; "
                  "precision_weighted wants "
                  "ivon's h");
    mean_weight_ = column("mean_weight", n);
  }
  if constexpr (carries_anchor) mean_anchor_ = column("mean_anchor", n);
  list_carried();
  index_.upload(recipe_.executor, layout_);
  allocate_factor();
}

/// Workbench, scratch, constants and memory of a staged compressor; `own` elements are those of the own
/// shard.
DILOCO_ENGINE
DILOCO_COLD void DILOCO_CLASS::allocate_stages(std::size_t own) {
  if (!residual_is_workbench || !owner_is_workbench)
    workbench_ = column("workbench", residual_is_workbench ? own : layout_.column_elements());
  scratch_ = reinterpret_cast<std::byte*>(column("scratch", plan_.scratch_bytes() / sizeof(float)));
  if constexpr (constexpr std::size_t c = constant_elements_of<Compressor>; c != 0) {
    constants_ = mirrored(recipe_.executor, c * sizeof(float));
    Compressor::write_constants(reinterpret_cast<float*>(constants_.host()));
    constants_.upload(recipe_.executor, 0, c * sizeof(float));
  }
  std::size_t const m = plan_.memory_elements();
  memory_ = {column("memory", m), column("memory.next", m)};
  if (pattern_ == pattern::scatter_gather && !agrees) {
    auto const& shard = plan_[recipe_.transport.rank()];
    owner_memory_ = {column("owner_memory", shard.memory_elements),
                     column("owner_memory.next", shard.memory_elements), shard.first_memory};
  }
}

/// What the inner sweep multiplies gradients with, where that is no argument.
DILOCO_ENGINE
DILOCO_COLD void DILOCO_CLASS::allocate_factor() {
  if (inner_state<Inner>::has_tensor_steps || clips())
    factor_ = reinterpret_cast<gradient_factor*>(
        column("gradient_factor", sizeof(gradient_factor) / sizeof(float)));
  if (clips()) {
    std::size_t const doubles = index_.tile_count() + sum_partials_kernel::groups(index_.tile_count());
    norm_partials_ =
        reinterpret_cast<double*>(column("norm_partials", doubles * sizeof(double) / sizeof(float)));
  }
}

DILOCO_ENGINE
result<> DILOCO_CLASS::start() {
  adopt_shown(true);
  if constexpr (DILOCO_CHECKS >= DILOCO_CHECKS_LIGHT) {
    if (auto fine = find_non_finite(theta_rows{index_.theta()}, "the parameter"); !fine) return fine;
  }
  recipe_.executor.for_each(index_.tile_count(),
                            copy_to_anchor_kernel{index_.tiles(), index_.theta(), anchor_});
  if constexpr (agrees)
    recipe_.executor.for_each(plan_.slices().size(),
                              agree_kernel<Compressor>{received(0, false, nullptr), memory_.now});
  recipe_.executor.wait();
  return {};
}

/// How many slots this rank reads at first, its own among them.
DILOCO_ENGINE
int DILOCO_CLASS::voices() const {
  int const k = recipe_.transport.size();
  return pairs_ranks && k > 2 ? 2 : k;
}

DILOCO_ENGINE
std::size_t DILOCO_CLASS::carried_by(recipe_type const& r) {
  return (r.inner_at_sync == at_sync::average ? inner_state<Inner>::planes : 0) + (carries_anchor ? 1 : 0) +
         (weighs_elements ? 1 : 0);
}

DILOCO_ENGINE
carried_planes DILOCO_CLASS::carried(std::size_t first_tile) const {
  return {index_.tiles() + first_tile, index_.carried_from(), index_.carried_to(),
          index_.shard_columns(),      plan_.carried(),       plan_.carried_offset(),
          plan_.carried_stride()};
}

/// What travels beside the pseudo-gradient: slots to be averaged in place, then the anchor, and last of all
/// what a rule weighs elements by.
DILOCO_ENGINE
DILOCO_COLD void DILOCO_CLASS::list_carried() {
  std::size_t const planes = plan_.carried();
  if (planes == 0) return;
  bool const averages = recipe_.inner_at_sync == at_sync::average;
  index_view const& index = index_.host();
  for (float** table : {index.carried_from(), index.carried_to()}) {
    if (averages) inner_.list(layout_, table, planes);
  }
  if constexpr (carries_anchor) {
    std::size_t const plane = planes - (weighs_elements ? 2 : 1);
    for (std::size_t r = 0; r < layout_.rows().size(); ++r) {
      if (layout_.rows()[r].frozen) continue;
      index.carried_from()[r * planes + plane] = anchor_ + layout_.rows()[r].column;
      index.carried_to()[r * planes + plane] = mean_anchor_ + layout_.rows()[r].column;
    }
  }
  if constexpr (weighs_elements) {
    std::size_t const last = planes - 1;
    inner_.list(layout_, Combine::weighs_by, index.carried_from() + last, planes);
    for (std::size_t r = 0; r < layout_.rows().size(); ++r) {
      float* const* const from = index.carried_from() + r * planes + last;
      index.carried_to()[r * planes + last] =
          *from == nullptr ? nullptr : mean_weight_ + layout_.rows()[r].column;
    }
  }
}

DILOCO_ENGINE
element_weights DILOCO_CLASS::weights() const {
  if constexpr (weighs_elements)
    return {index_.carried_from() + plan_.carried() - 1, plan_.carried(), recipe_.combine.prior};
  else
    return {};
}

DILOCO_ENGINE
footprint DILOCO_CLASS::footprint() const {
  return {layout_.parameters(), table_.bytes(), wire_bytes_, index_.bytes() + constants_.bytes(),
          table_.placed_bytes()};
}

DILOCO_ENGINE
DILOCO_COLD std::string DILOCO_CLASS::describe() const {
  double const round = detail::round_bytes<Inner, Outer, Compressor, Feedback>(
      layout_, plan_, pattern_ == pattern::scatter_gather, recipe_.transport.size(), voices());
  double const bits =
      is_staged ? 8.0 * static_cast<double>(plan_.payload_bytes()) / static_cast<double>(layout_.parameters())
                : wire_bits<Compressor>;
  std::string const small = Compressor::smallest > 1e-20f
                                ? say({" · below ", three_digits(double{Compressor::smallest}),
                                       " lost in part", has_residual ? " and kept in the residual" : ""})
                                : std::string{};
  return say({Inner::name,
              " → ",
              Outer::name,
              " · ",
              Compressor::name,
              " (",
              three_digits(bits),
              " bit)",
              has_residual ? say({" + ", Feedback::name}) : std::string{},
              small,
              recipe_.inner_at_sync == at_sync::average ? " + inner state (32 bit each)" : "",
              carries_anchor ? " + anchor (32 bit)" : "",
              weighs_elements ? " + weights (32 bit)" : "",
              " · ",
              name_of(pattern_),
              " over ",
              Transport::name,
              "×",
              recipe_.transport.size(),
              " · ",
              recipe_.schedule.describe(),
              std::is_same_v<Rate, constant_rate> ? std::string{} : say({" · ", Rate::name}),
              clips() ? say({" · clipped at ", recipe_.clip_norm}) : std::string{},
              recipe_.inner_at_sync == at_sync::reset ? " · inner state reset" : "",
              " · state ",
              three_digits(footprint().state_bytes_per_parameter()),
              " B/param · round ",
              three_digits(round),
              " B/param"});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
