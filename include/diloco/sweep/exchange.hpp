// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace diloco {
inline namespace v0 {

/// In which pattern the wires travel.
enum class pattern { gather, scatter_gather };

/// Everybody sends everything to everybody and decodes K wires: one quantization, traffic that grows with K.
struct gather {
  static constexpr std::string_view name = "gather";
  [[nodiscard]] constexpr pattern pick(int) const { return pattern::gather; }
  friend bool operator==(gather const&, gather const&) = default;
};

/// Each rank combines 1/K of the parameters, encodes the result once and sends it to everybody: two quantizations, each
/// with its residual, and traffic that does not grow with K.
struct scatter_gather {
  static constexpr std::string_view name = "scatter_gather";
  [[nodiscard]] constexpr pattern pick(int) const { return pattern::scatter_gather; }
  friend bool operator==(scatter_gather const&, scatter_gather const&) = default;
};

/// Gather up to two ranks, where it sends no more than scatter–gather and quantizes once; scatter–gather above.
struct automatic {
  static constexpr std::string_view name = "automatic";
  [[nodiscard]] constexpr pattern pick(int ranks) const {
    return ranks <= 2 ? pattern::gather : pattern::scatter_gather;
  }
  friend bool operator==(automatic const&, automatic const&) = default;
};

}  // namespace v0
}  // namespace diloco
