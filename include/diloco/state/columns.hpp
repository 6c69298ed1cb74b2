// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/layout.hpp>
#include <diloco/state/memory_source.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

enum class column_kind : std::uint8_t {
  theta,
  anchor,
  residual,
  outer,
  inner,
  estimate,
  signal,
  memory,
  scratch
};

/// `in_place`: one buffer. Others have two: a round writes the second, and commit makes it current. `always`:
/// in every committed round. `if_counted`: only if this rank's coefficient is not 0. `if_group_counted`: only
/// if that of its group is not. Each fragment switches separately.
enum class commit_rule : std::uint8_t { in_place, always, if_counted, if_group_counted };

/// `rows`: one float per element, at layout::row::column. `group`: the same for the rows of one group of the
/// inner optimizer, at layout::row::group_column. `own`: any other order.
struct column_order {
  enum kind : std::uint8_t { own, rows, group };
  kind what = own;
  std::size_t index = 0;  ///< of the group
};

/// A named array of floats. It has a second buffer of the same size unless it is in_place.
class state_column {
 public:
  state_column(memory_source const& where, std::string name, column_kind kind, std::size_t floats,
               column_order order, commit_rule commits, std::size_t fragments);
  [[nodiscard]] std::string_view name() const { return name_; }
  [[nodiscard]] column_kind kind() const { return kind_; }
  [[nodiscard]] column_order order() const { return order_; }
  [[nodiscard]] std::size_t floats() const { return floats_; }
  [[nodiscard]] std::size_t bytes() const { return first_.size() + second_.size(); }
  /// `current`: committed buffer of a fragment. `next`: buffer that a round writes. Equal if in_place.
  [[nodiscard]] float* current(std::size_t fragment = 0) const {
    return (swapped(fragment) ? second_ : first_).as<float>();
  }
  [[nodiscard]] float* next(std::size_t fragment = 0) const {
    return (swapped_.empty() || swapped(fragment) ? first_ : second_).as<float>();
  }
  void commit(std::size_t fragment, bool counted, bool group_counted);
  /// Both buffers; the second is empty if in_place. `swaps`: per fragment, whether the second is current.
  [[nodiscard]] std::span<float> first() const { return {first_.as<float>(), floats_}; }
  [[nodiscard]] std::span<float> second() const {
    return {second_.as<float>(), second_.size() / sizeof(float)};
  }
  [[nodiscard]] std::span<char> swaps() { return swapped_; }

 private:
  [[nodiscard]] bool swapped(std::size_t fragment) const {
    return !swapped_.empty() && swapped_[fragment] != 0;
  }
  std::string name_;
  column_kind kind_;
  std::size_t floats_;
  column_order order_;
  commit_rule commits_;
  buffer first_, second_;
  std::vector<char> swapped_;  // (fragments)
};

/// All columns of a trainer, in the order of `add`.
class state_columns {
 public:
  explicit state_columns(std::size_t fragments) : fragments_(fragments) {}

  /// Allocates a zeroed column; returns null for 0 floats.
  state_column* add(memory_source const& where, std::string name, column_kind kind, std::size_t floats,
                    column_order order, commit_rule commits);
  /// Adds an in-place column and returns its first float; null for 0 floats.
  float* add_floats(memory_source const& where, std::string name, column_kind kind, std::size_t floats,
                    column_order order = {});
  [[nodiscard]] std::size_t bytes() const;
  /// Bytes of these on the host, placed by the executor.
  [[nodiscard]] std::size_t placed_bytes() const { return placed_bytes_; }
  /// Columns in the order of `add`.
  [[nodiscard]] std::vector<std::unique_ptr<state_column>> const& all() const { return all_; }
  /// Makes the buffers that a round wrote for one fragment current. `counted`: the coefficient of this
  /// rank's contribution is not 0.
  void commit(std::size_t fragment, bool counted, bool group_counted);

 private:
  std::vector<std::unique_ptr<state_column>> all_;
  std::size_t fragments_, placed_bytes_ = 0;
};

/// Bytes that a trainer requested from its executor. All are requested at construction, with one exception:
/// the first show_mean under schedule_free_adamw allocates 4 B/param.
/// Not included: names, shapes and the list of tiles in host memory, about 40 B per 4,096 elements.
struct footprint {
  std::size_t parameters = 0;    ///< elements of the caller's tensors that are trained
  std::size_t state_bytes = 0;   ///< columns: anchor, residuals, slots, θ copies, memory, scratch
  std::size_t wire_bytes = 0;    ///< send and receive buffers, partial checksums
  std::size_t index_bytes = 0;   ///< tiles, pointers, compressor constants
  std::size_t placed_bytes = 0;  ///< part of state_bytes that state_on_host placed on the host
  [[nodiscard]] std::size_t total_bytes() const { return state_bytes + wire_bytes + index_bytes; }
  [[nodiscard]] double state_bytes_per_parameter() const {
    return static_cast<double>(state_bytes) / static_cast<double>(parameters);
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/state/columns_definitions.hpp>
#endif
