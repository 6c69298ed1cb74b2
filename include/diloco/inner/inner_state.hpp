// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/groups.hpp>
#include <diloco/state/columns.hpp>
#include <diloco/state/lookup_table.hpp>
#include <diloco/sweep/copy.hpp>
#include <diloco/sweep/gradient.hpp>
#include <diloco/sweep/inner_step.hpp>
#include <diloco/sweep/sampling.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What every group's step needs beside its own state.
struct inner_step_inputs {
  step_context context;
  float grad_scale;
  float const* factor;  ///< in place of grad_scale; null where no tensor is stepped whole and nothing clipped
  callers_rows callers;
  draw sample;  ///< RNG stream of the samples that are shown next
};

/// The inner optimizer's columns and scratch, group after group, and the sweep that steps them.
template <class Inner>
class inner_state {
 public:
  static constexpr std::size_t group_count = group_count_of<Inner>;
  static constexpr bool has_samples = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (sampling_optimizer<group_optimizer_of<Inner, Index>> || ...);
  }
  (std::make_index_sequence<group_count>{});
  /// Groups that are evaluated elsewhere than where they are trained.
  static constexpr bool has_views = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (viewed_optimizer<group_optimizer_of<Inner, Index>> || ...);
  }
  (std::make_index_sequence<group_count>{});
  /// State beside the slots.
  static constexpr bool has_memory = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (keeps_memory<group_optimizer_of<Inner, Index>> || ...);
  }
  (std::make_index_sequence<group_count>{});
  static constexpr bool has_tensor_steps = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (tensor_optimizer<group_optimizer_of<Inner, Index>> || ...);
  }
  (std::make_index_sequence<group_count>{});

  /// The sentence about a group without tensors, or an empty string.
  [[nodiscard]] static std::string validation_error(Inner const& inner, layout const& l) {
    std::string found;
    for_each_group(inner, [&](auto const& o, auto index) {
      if (found.empty() && l.groups()[index].rows == 0)
        found =
            say({"diloco: inner: group ", std::size_t{index}, " (", o.name, ") wants none of the tensors"});
    });
    return found;
  }

  /// The least `largest()` of the groups that square a gradient, which is below 2⁶⁴: beyond it an element
  /// could stand still for ever, and nothing would show. What others make of too large a gradient is not
  /// finite, and the next round hears it.
  [[nodiscard]] static float largest(Inner const& inner) {
    float least = static_cast<float>(unbounded);
    for_each_group(inner, [&](auto const& o, auto) {
      if constexpr (states_largest<std::remove_cvref_t<decltype(o)>>) {
        float const most = o.largest();
        least = most < 0x1p64f && most < least ? most : least;
      }
    });
    return least;
  }

  DILOCO_COLD void allocate(memory_source const& where, state_columns& state, layout const& l,
                            Inner const& inner) {
    std::size_t scratch = 0, wide = 0;
    if constexpr (has_tensor_steps) stepped_.resize(l.rows().size());
    for_each_group(inner, [&](auto const& o, auto index) {
      using O = std::remove_cvref_t<decltype(o)>;
      held& h = groups_[index];
      h.elements = l.groups()[index].elements;
      std::string const prefix = group_count == 1 ? "inner." : say({"inner.", std::size_t{index}, "."});
      for (std::size_t s = 0; s != slot_count_of<O>; ++s) {
        h.names[s] = O::slots[s];
        h.slots[s] = state.add_floats(where, prefix + std::string(O::slots[s]), column_kind::inner,
                                      h.elements, column_order{column_order::group, index});
      }
      if constexpr (tensor_optimizer<O>) {
        for (layout::row const& r : l.rows()) {
          if (r.group != index) continue;
          h.memory_elements += memory_elements_of<O>(r.size / r.columns(), r.columns());
          std::size_t const wanted = O::scratch_elements(r.size / r.columns(), r.columns());
          scratch = wanted > scratch ? wanted : scratch;
          wide = r.bf16 != nullptr && r.size > wide ? r.size : wide;
        }
        h.memory = state.add_floats(where, prefix + "memory", column_kind::inner, h.memory_elements);
      }
    });
    scratch_ = state.add_floats(where, "inner.scratch", column_kind::scratch, scratch);
    wide_gradient_ = state.add_floats(where, "inner.gradient", column_kind::scratch, wide);
  }

  /// Steps every group.
  template <executor E>
  void step(E const& where, Inner const& inner, layout const& l, lookup_table const& lookup,
            inner_step_inputs const& in) {
    for_each_group_tiles(
        inner, l, lookup, [&](auto const& o, std::size_t group, tile const* tiles, std::size_t count) {
          using O = std::remove_cvref_t<decltype(o)>;
          if constexpr (element_optimizer<O>) {
            step_elements(where, o, groups_[group], lookup, tiles, count, in);
          } else if constexpr (tensor_optimizer<O>) {
            if (in.callers.narrow != nullptr)
              where.for_each(count, adopt_kernel{tiles, in.callers, lookup->theta});
            step_tensors(where, o, groups_[group], l, group, lookup, in);
            if (in.callers.narrow != nullptr)
              where.for_each(count, show_kernel{tiles, lookup->theta, in.callers, lookup->gradients});
          } else if constexpr (sampling_optimizer<O>) {
            sample(where, o, groups_[group], lookup, tiles, count, in, true);
          }
        });
  }

  /// Memory for θ of the groups that `show_view` writes over, taken at the first call: 4 B/param of theirs,
  /// and 2 more where some tensors are bfloat16 (`copies`).
  DILOCO_COLD void allocate_views(memory_source const& where, state_columns& state, Inner const& inner,
                                  bool copies) {
    for_each_group(inner, [&](auto const& o, auto index) {
      if constexpr (viewed_optimizer<std::remove_cvref_t<decltype(o)>>) {
        held& h = groups_[index];
        if (h.kept != nullptr) return;
        std::string const name = say({"inner.", std::size_t{index}, ".kept"});
        h.kept = state.add_floats(where, name, column_kind::scratch, h.elements);
        if (copies)
          h.kept_bits = reinterpret_cast<bfloat16*>(
              state.add_floats(where, name + "_bits", column_kind::scratch, (h.elements + 1) / 2));
      }
    });
  }
  /// Makes the tensors of those groups show the point to evaluate, or brings θ back bit by bit.
  template <executor E>
  void show_view(E const& where, Inner const& inner, layout const& l, lookup_table const& lookup,
                 callers_rows const& callers, bool shows) const {
    for_each_group_tiles(
        inner, l, lookup, [&](auto const& o, std::size_t group, tile const* tiles, std::size_t count) {
          if constexpr (viewed_optimizer<std::remove_cvref_t<decltype(o)>>) {
            held const& h = groups_[group];
            auto const view = o.evaluation_point();
            where.for_each(count,
                           view_kernel<std::remove_const_t<decltype(view)>>{
                               view, shows, tiles, lookup->theta, h.slots[0], h.kept, h.kept_bits, callers});
          }
        });
  }
  /// θ of a row that a view was written over; empty for others.
  [[nodiscard]] std::span<float const> kept(layout::row const& r) const {
    float const* const from = groups_[r.group].kept;
    return {from == nullptr ? nullptr : from + r.group_column, from == nullptr || r.frozen ? 0 : r.size};
  }

  /// Shows new samples, or θ itself, in the tensors of the groups that step by samples.
  template <executor E>
  void show(E const& where, Inner const& inner, layout const& l, lookup_table const& lookup,
            inner_step_inputs const& in, bool samples) const {
    for_each_group_tiles(inner, l, lookup,
                         [&](auto const& o, std::size_t group, tile const* tiles, std::size_t count) {
                           if constexpr (sampling_optimizer<std::remove_cvref_t<decltype(o)>>) {
                             if (samples)
                               sample(where, o, groups_[group], lookup, tiles, count, in, false);
                             else
                               where.for_each(count, show_kernel{tiles, lookup->theta, in.callers});
                           }
                         });
  }

  /// θ ← what the caller's tensors show, where they are not samples of it.
  template <executor E>
  void adopt(E const& where, Inner const& inner, layout const& l, lookup_table const& lookup,
             callers_rows const& from) const {
    for_each_group_tiles(inner, l, lookup,
                         [&](auto const& o, std::size_t, tile const* tiles, std::size_t count) {
                           if constexpr (!sampling_optimizer<std::remove_cvref_t<decltype(o)>>)
                             where.for_each(count, adopt_kernel{tiles, from, lookup->theta});
                         });
  }

  /// The slots of a row's group.
  [[nodiscard]] std::vector<std::string_view> slot_names(layout::row const& r) const {
    std::vector<std::string_view> all;
    held const& h = groups_[r.group];
    for (std::size_t s = 0; s < max_slots; ++s) {
      if (h.slots[s] != nullptr) all.push_back(h.names[s]);
    }
    return all;
  }
  /// One row of a state column; empty where its group has none of that name.
  [[nodiscard]] std::span<float const> cell(layout::row const& r, std::string_view slot) const {
    held const& h = groups_[r.group];
    for (std::size_t s = 0; s < max_slots; ++s) {
      if (h.slots[s] != nullptr && h.names[s] == slot) return {h.slots[s] + r.group_column, r.size};
    }
    return {};
  }

  /// Planes that all slots together need: as many as the group with most has.
  static constexpr std::size_t planes = []<std::size_t... Index>(std::index_sequence<Index...>) {
    std::size_t most = 0;
    for (std::size_t const slots : {slot_count_of<group_optimizer_of<Inner, Index>>...})
      most = slots > most ? slots : most;
    return most;
  }
  (std::make_index_sequence<group_count>{});
  /// Writes to[row · stride + s], for each slot s: where that row's lie, or null.
  void list(layout const& l, float** to, std::size_t stride) const {
    for (layout::row const& r : l.rows()) {
      for (std::size_t s = 0; s != planes; ++s) {
        float* const column = groups_[r.group].slots[s];
        to[s] = column == nullptr || r.frozen ? nullptr : column + r.group_column;
      }
      to += stride;
    }
  }
  /// Writes to[row · stride]: where that row's slot of one name lies, or null.
  void list(layout const& l, std::string_view slot, float** to, std::size_t stride) const {
    for (layout::row const& r : l.rows()) {
      held const& h = groups_[r.group];
      *to = nullptr;
      for (std::size_t s = 0; s < max_slots; ++s) {
        if (h.slots[s] != nullptr && h.names[s] == slot && !r.frozen) *to = h.slots[s] + r.group_column;
      }
      to += stride;
    }
  }
  static constexpr bool has_slot(std::string_view slot) {
    bool found = false;
    [&]<std::size_t... Index>(std::index_sequence<Index...>) {
      (([&] {
         if constexpr (slot_count_of<group_optimizer_of<Inner, Index>> != 0) {
           for (std::string_view s : group_optimizer_of<Inner, Index>::slots) found = found || s == slot;
         }
       }()),
       ...);
    }
    (std::make_index_sequence<group_count>{});
    return found;
  }

  /// Per row, whether it was stepped since the state was zeros; empty without tensor optimizers.
  [[nodiscard]] std::span<char> tensor_steps() { return stepped_; }

  /// Zeros all of it.
  template <executor E>
  void reset(E const& where) {
    stepped_.assign(stepped_.size(), 0);
    auto const zero = [&](float* column, std::size_t elements) {
      if (column == nullptr) return;
      zero_kernel const kernel{column, elements};
      where.for_each(kernel.tiles(), kernel);
    };
    for (held const& h : groups_) {
      for (float* slot : h.slots) zero(slot, h.elements);
      zero(h.memory, h.memory_elements);
    }
  }

 private:
  static constexpr std::size_t max_slots = planes == 0 ? 1 : planes;
  struct held {
    std::size_t elements = 0, memory_elements = 0;
    float* slots[max_slots] = {};
    float* memory = nullptr;
    float* kept = nullptr;
    bfloat16* kept_bits = nullptr;
    std::string_view names[max_slots] = {};
  };

  template <class F>
  static void for_each_group_tiles(Inner const& inner, layout const& l, lookup_table const& lookup, F&& f) {
    tile const* tiles = lookup->group_tiles;
    for_each_group(inner, [&](auto const& o, auto group) {
      std::size_t const count = l.groups()[group].tiles;
      f(o, std::size_t{group}, tiles, count);
      tiles += count;
    });
  }

  template <executor E, element_optimizer O>
  static void step_elements(E const& where, O const& o, held const& h, lookup_table const& lookup,
                            tile const* tiles, std::size_t count, inner_step_inputs const& in) {
    auto const step = o.at(in.context);
    inner_step_kernel<std::remove_const_t<decltype(step)>, slot_count<O>> kernel{
        step,          in.grad_scale,
        in.factor,     tiles,
        lookup->theta, {lookup->gradients, lookup->gradient_is_bf16},
        in.callers,    {}};
    for (std::size_t s = 0; s != slot_count<O>; ++s) kernel.slots[s] = h.slots[s];
    where.for_each(count, kernel);
  }

  template <executor E, sampling_optimizer O>
  static void sample(E const& where, O const& o, held const& h, lookup_table const& lookup, tile const* tiles,
                     std::size_t count, inner_step_inputs const& in, bool steps) {
    auto const step = o.at(in.context);
    sampling_step_kernel<std::remove_const_t<decltype(step)>, slot_count_of<O>> kernel{
        step,
        steps,
        in.grad_scale,
        in.factor,
        tiles,
        lookup->theta,
        {lookup->gradients, lookup->gradient_is_bf16},
        in.callers,
        in.sample,
        {}};
    for (std::size_t s = 0; s != slot_count_of<O>; ++s) kernel.slots[s] = h.slots[s];
    where.for_each(count, kernel);
  }

  template <executor E, tensor_optimizer O>
  void step_tensors(E const& where, O const& o, held const& h, layout const& l, std::size_t group,
                    lookup_table const& lookup, inner_step_inputs const& in) {
    float* memory = h.memory;
    for (std::size_t r = 0; r < l.rows().size(); ++r) {
      layout::row const& row = l.rows()[r];
      if (row.group != group) continue;
      std::size_t const columns = row.columns(), rows = row.size / columns;
      float* const own = memory;
      memory += memory == nullptr ? 0 : memory_elements_of<O>(rows, columns);
      if (lookup.host().gradients[r] == nullptr) continue;
      bool const first = stepped_[r] == 0;
      stepped_[r] = 1;
      tensor_step<slot_count_of<O>> t{rows,       columns, row.data, gradient(where, lookup, r, row.size),
                                      in.factor,  {},      own,      scratch_,
                                      in.context, first};
      for (std::size_t s = 0; s != slot_count_of<O>; ++s) t.slots[s] = h.slots[s] + row.group_column;
      o.step(where, t);
    }
  }

  template <executor E>
  float const* gradient(E const& where, lookup_table const& lookup, std::size_t r,
                        std::size_t elements) const {
    void const* const g = lookup.host().gradients[r];
    if (lookup.host().gradient_is_bf16[r] == 0) return static_cast<float const*>(g);
    widen_kernel const widen{static_cast<bfloat16 const*>(g), wide_gradient_, elements};
    where.for_each(widen.tiles(), widen);
    return wide_gradient_;
  }

  held groups_[group_count];
  float* scratch_ = nullptr;
  float* wide_gradient_ = nullptr;  // of one tensor
  std::vector<char> stepped_;       // (rows) of tensor optimizers: since the state was zeros
};

/// The framework's own optimizer, or none, leaves nothing to hold.
template <stepless_optimizer Inner>
class inner_state<Inner> {
 public:
  static constexpr bool has_tensor_steps = false, has_samples = false, has_memory = false, has_views = false;
  static constexpr std::size_t planes = 0;
  void list(layout const&, float**, std::size_t) const {}
  void list(layout const&, std::string_view, float**, std::size_t) const {}
  static constexpr bool has_slot(std::string_view) { return false; }
  [[nodiscard]] static std::string validation_error(Inner const&, layout const&) { return {}; }
  [[nodiscard]] static float largest(Inner const&) { return static_cast<float>(unbounded); }
  void allocate(memory_source const&, state_columns&, layout const&, Inner const&) {}
  [[nodiscard]] std::span<char> tensor_steps() const { return {}; }
  [[nodiscard]] std::span<float const> cell(layout::row const&, std::string_view) const { return {}; }
  [[nodiscard]] std::vector<std::string_view> slot_names(layout::row const&) const { return {}; }
  template <executor E>
  void reset(E const&) const {}
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
