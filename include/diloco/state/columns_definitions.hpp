// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/columns.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_CORE state_column::state_column(memory_source const& where, std::string name, column_kind kind,
                                       std::size_t floats, column_order order, commit_rule commits,
                                       std::size_t fragments)
    : name_(std::move(name)), kind_(kind), floats_(floats), order_(order), commits_(commits) {
  std::size_t const bytes = floats * sizeof(float);
  first_ = where.allocate_column(name_, bytes);
  if (commits != commit_rule::in_place) {
    second_ = where.allocate_column(name_, bytes);
    swapped_.resize(fragments);
  }
}

DILOCO_CORE void state_column::commit(std::size_t fragment, bool counted, bool group_counted) {
  if (commits_ == commit_rule::always || (commits_ == commit_rule::if_counted && counted) ||
      (commits_ == commit_rule::if_group_counted && group_counted))
    swapped_[fragment] = swapped_[fragment] == 0 ? 1 : 0;
}

DILOCO_CORE state_column* state_columns::add(memory_source const& where, std::string name, column_kind kind,
                                             std::size_t floats, column_order order, commit_rule commits) {
  if (floats == 0) return nullptr;
  all_.push_back(
      std::make_unique<state_column>(where, std::move(name), kind, floats, order, commits, fragments_));
  if (!where.columns_on_host() && where.places_on_host(all_.back()->name()))
    placed_bytes_ += all_.back()->bytes();
  return all_.back().get();
}

DILOCO_CORE float* state_columns::add_floats(memory_source const& where, std::string name, column_kind kind,
                                             std::size_t floats, column_order order) {
  state_column const* const c = add(where, std::move(name), kind, floats, order, commit_rule::in_place);
  return c == nullptr ? nullptr : c->current();
}

DILOCO_CORE std::size_t state_columns::bytes() const {
  std::size_t sum = 0;
  for (auto const& c : all_) sum += c->bytes();
  return sum;
}

DILOCO_CORE void state_columns::commit(std::size_t fragment, bool counted, bool group_counted) {
  for (auto const& c : all_) c->commit(fragment, counted, group_counted);
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
