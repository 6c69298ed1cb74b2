// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/round/passes.hpp>

// The columns that the two passes of a recipe read and write.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

template <class R>
DILOCO_COLD void passes<R>::allocate(state_columns& state, memory_source const& where, layout const& l,
                                     std::vector<wire_plan> const& plans, bool owns) {
  elements_ = l.column_elements();
  if constexpr (of_gradient)
    allocate_signal(state, where);
  else
    anchor_ =
        state.add_floats(where, "anchor", column_kind::anchor, elements_, column_order{column_order::rows});
  std::size_t residual_floats = 0;
  // Kernels load words of 16 bytes, so the part of each further fragment begins with a cache line.
  auto const aligned = [&](std::size_t floats) {
    constexpr std::size_t line = layout::line_elements;
    return plans.size() == 1 ? floats : (floats + line - 1) / line * line;
  };
  for (wire_plan const& plan : plans) {
    own_part part{
        .residual = residual_floats, .memory = memory_floats_, .owner_memory = owner_memory_floats_};
    if (owns) {
      wire_plan::shard const& s = plan[shard_];
      part.elements = s.elements;
      part.first_memory = s.first_memory;
      own_elements_ += s.elements;
      residual_floats += aligned(owner_residual_type::floats(s.elements));
      owner_memory_floats_ += agrees ? 0 : aligned(s.memory_elements);
    }
    memory_floats_ += aligned(plan.memory_elements());
    scratch_bytes_ = plan.scratch_bytes() > scratch_bytes_ ? plan.scratch_bytes() : scratch_bytes_;
    own_.push_back(part);
  }
  if constexpr (has_residual) {
    static_assert(!mean_residual<Feedback> || residual_bits<Feedback> == 32,
                  "diloco: feedback: a mean residual is kept in 32 bits");
    residual_ =
        state.add(where, "residual", column_kind::residual, residual_type::floats(elements_),
                  column_order{residual_bits<Feedback> == 32 ? column_order::rows : column_order::own},
                  commit_rule::if_counted);
    if constexpr (keeps_estimate<Feedback>)
      estimate_ = state.add_floats(where, "estimate", column_kind::estimate, elements_,
                                   column_order{column_order::rows});
  }
  if constexpr (owner_has_residual)
    owner_residual_ = state.add(where, "owner_residual", column_kind::residual, residual_floats, {},
                                commit_rule::if_group_counted);
  if constexpr (is_staged) allocate_stages(state, where, owns);
  for (std::size_t s = 0; s != outer_slots; ++s)
    outer_state_[s] = state.add_floats(where, "outer." + std::string(Outer::slots[s]), column_kind::outer,
                                       elements_, column_order{column_order::rows});
}

template <class R>
DILOCO_COLD void passes<R>::allocate_signal(state_columns& state, memory_source const& where) {
  too_large_ = mirrored(where, sizeof(std::uint32_t));
  forget_limit(where);
  if constexpr (signal_slots<Signal> != 0)
    signal_ = state.add(where, say({"signal.", Signal::slots[0]}), column_kind::signal, elements_,
                        column_order{column_order::rows}, commit_rule::always);
}

/// Workbench, scratch, constants and memory of a staged compressor.
template <class R>
DILOCO_COLD void passes<R>::allocate_stages(state_columns& state, memory_source const& where, bool owns) {
  if (!residual_is_workbench || !owner_is_workbench) {
    std::size_t const shard = !owns ? 0 : own_.size() == 1 ? own_elements_ : elements_;
    workbench_ =
        state.add_floats(where, "workbench", column_kind::scratch, residual_is_workbench ? shard : elements_);
  }
  scratch_ = reinterpret_cast<std::byte*>(
      state.add_floats(where, "scratch", column_kind::scratch, scratch_bytes_ / sizeof(float)));
  if constexpr (constexpr std::size_t c = constant_elements_of<C>; c != 0) {
    constants_ = mirrored(where, c * sizeof(float));
    auto* const to = reinterpret_cast<float*>(constants_.host());
    C::write_constants(to);
    constants_.upload(where, to, to + c);
  }
  memory_ = state.add(where, "memory", column_kind::memory, memory_floats_, {},
                      agrees ? commit_rule::always : commit_rule::if_counted);
  owner_memory_ = state.add(where, "owner_memory", column_kind::memory, owner_memory_floats_, {},
                            commit_rule::if_group_counted);
}

template <class R>
DILOCO_COLD void passes<R>::allocate_means(state_columns& state, memory_source const& where, std::size_t n) {
  if constexpr (weighs_elements)
    mean_weight_ =
        state.add_floats(where, "mean_weight", column_kind::scratch, n, column_order{column_order::rows});
  if constexpr (carries_anchor)
    mean_anchor_ =
        state.add_floats(where, "mean_anchor", column_kind::scratch, n, column_order{column_order::rows});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
