// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/state/layout.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Columns over the layout's rows. Policies declare them by name; nothing is hidden in an optimizer object.
class table {
 public:
  /// Adds a zeroed float column of `elements`, and gives where it lies.
  template <executor E>
  float* add(E const& where, std::string name, std::size_t elements) {
    if (elements == 0) return nullptr;
    std::size_t const bytes = elements * sizeof(float);
    if constexpr (requires { where.allocate_column(name, bytes); }) {
      columns_.push_back({name, where.allocate_column(name, bytes), elements});
      if (!E::columns_on_host && where.only_for_rounds(name)) placed_bytes_ += bytes;
    } else {
      columns_.push_back({std::move(name), where.allocate(bytes), elements});
    }
    return columns_.back().memory.template as<float>();
  }
  [[nodiscard]] std::size_t bytes() const {
    std::size_t sum = 0;
    for (column const& c : columns_) sum += c.memory.size();
    return sum;
  }
  /// Of these, what the executor placed on the host.
  [[nodiscard]] std::size_t placed_bytes() const { return placed_bytes_; }
  /// The whole column, padding included, or an empty span.
  [[nodiscard]] std::span<float> operator[](std::string_view name) const {
    for (column const& c : columns_) {
      if (c.name == name) return {c.memory.template as<float>(), c.elements};
    }
    return {};
  }
  /// Of all columns, in the order in which they were added.
  [[nodiscard]] std::vector<std::string_view> names() const {
    std::vector<std::string_view> all;
    for (column const& c : columns_) all.push_back(c.name);
    return all;
  }
  /// Exchanges what two columns hold, by exchanging their names.
  void swap(std::string_view a, std::string_view b) {
    column* first = find(a);
    column* second = find(b);
    if (first != nullptr && second != nullptr) first->name.swap(second->name);
  }

 private:
  struct column {
    std::string name;
    buffer memory;
    std::size_t elements;
  };
  column* find(std::string_view name) {
    for (column& c : columns_) {
      if (c.name == name) return &c;
    }
    return nullptr;
  }
  std::vector<column> columns_;
  std::size_t placed_bytes_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
