// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Any executor, with the columns that only rounds use in host memory: anchor, residuals, feedback state and
/// the outer optimizer's state. It is for a model that fills the device. θ, the inner state and the messages
/// stay on the device.
/// Sweeps stream these columns over the bus block by block, where the device can access pinned host memory.
/// Under Nesterov with error feedback that is 12 B/param in sweep A and 16 B/param in sweep B. An inner step
/// uses none of these columns.
/// A staged compressor works in the residual's column and passes over it several times. The bits are the
/// same. Around a host executor it changes nothing.
template <executor Base>
struct state_on_host : Base {
  static constexpr executor_traits traits{.places_columns = true};
  [[nodiscard]] static constexpr bool only_for_rounds(std::string_view column) {
    for (std::string_view prefix : {"anchor", "residual", "owner_residual", "estimate", "outer.", "mean_"}) {
      if (column.starts_with(prefix)) return true;
    }
    return false;
  }
  [[nodiscard]] buffer allocate_column(std::string_view column, std::size_t bytes) const {
    return only_for_rounds(column) ? this->allocate_wire(bytes) : this->allocate(bytes);
  }
  friend bool operator==(state_on_host const&, state_on_host const&) = default;
};
template <executor Base>
state_on_host(Base) -> state_on_host<Base>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
