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
  static constexpr pattern pick(int) { return pattern::gather; }
};

/// Each rank combines 1/K of the parameters, encodes the result once and sends it to everybody: two quantizations, each
/// with its residual, and traffic that does not grow with K.
struct scatter_gather {
  static constexpr std::string_view name = "scatter_gather";
  static constexpr pattern pick(int) { return pattern::scatter_gather; }
};

/// Gather up to two ranks, where it sends no more than scatter–gather and quantizes once; scatter–gather above.
struct automatic {
  static constexpr std::string_view name = "automatic";
  static constexpr pattern pick(int ranks) { return ranks <= 2 ? pattern::gather : pattern::scatter_gather; }
};

}  // namespace v0
}  // namespace diloco
