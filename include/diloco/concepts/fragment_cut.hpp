// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Assigns each tensor to a fragment. Each fragment needs at least one trained tensor. The cut must be
/// equal on all ranks; construction compares it.
struct fragment_cut {
  enum kind : std::uint8_t { sequential, strided, by_name };
  kind how = sequential;
  int (*fragment_of)(std::string_view tensor) = nullptr;  ///< only for by_name; 0 … fragments − 1
  friend bool operator==(fragment_cut const&, fragment_cut const&) = default;
};

/// Runs of consecutive tensors, of about equal size.
inline constexpr fragment_cut sequential{};
/// With F fragments, layer l belongs to fragment l mod F (Streaming DiLoCo, arXiv 2501.18512). The layer is
/// the first number in the tensor's name without a letter next to it: 3 in "h.3.mlp.w1". A tensor without
/// such a number takes the layer of the previous tensor. Leading tensors take the layer of the first
/// numbered one. Without any number, all have layer 0.
inline constexpr fragment_cut strided{fragment_cut::strided};
/// The fragment is a function of the tensor's name:
/// by_name([](std::string_view t) { return t.starts_with("head.") ? 1 : 0; }).
[[nodiscard]] constexpr fragment_cut by_name(int (*fragment_of)(std::string_view tensor)) {
  return {fragment_cut::by_name, fragment_of};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
