// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>

#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Any executor, with the columns that only rounds touch in memory of the host: anchor, residuals, what
/// feedback remembers, and the outer optimizer's state. For a model that fills the device: there remain θ,
/// the inner state and the wires. Sweeps stream these columns over the bus, block by block, where the device
/// reaches the host's pinned memory: under Nesterov with error feedback 12 B a parameter in sweep A and 16 B
/// in sweep B; an inner step touches none of it. A staged compressor works in the residual's column, several
/// times over. Same bits. Around an executor of the host it changes nothing.
template <executor Base>
struct state_on_host : Base {
  [[nodiscard]] static constexpr bool only_for_rounds(std::string_view column) {
    for (std::string_view prefix : {"anchor", "residual", "owner_residual", "common", "outer.", "mean_"}) {
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
