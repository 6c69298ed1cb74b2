// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstdint>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Which tensors make a fragment of the model. A fragment is at least one tensor that is trained. All ranks
/// must cut alike; the contract compares the fragment of each tensor.
struct fragment_cut {
  enum kind : std::uint8_t { in_order, by_layer, by_function };
  kind how = in_order;
  int (*fragment_of)(std::string_view tensor) = nullptr;  ///< of by_function
  friend bool operator==(fragment_cut const&, fragment_cut const&) = default;
};

/// Runs of consecutive tensors, of about equal size.
inline constexpr fragment_cut sequential{};
/// Layer l of F fragments goes into fragment l mod F (Streaming DiLoCo, arXiv 2501.18512). The layer is the
/// first number in a tensor's name that stands between other characters than letters: 3 in "h.3.mlp.w1".
/// A tensor without one goes with the tensor before it. Tensors ahead of the first number go with that.
inline constexpr fragment_cut strided{fragment_cut::by_layer};
/// The fragment is a function of the tensor's name:
/// by_name([](std::string_view t) { return t.starts_with("head.") ? 1 : 0; }).
[[nodiscard]] constexpr fragment_cut by_name(int (*fragment_of)(std::string_view tensor)) {
  return {fragment_cut::by_function, fragment_of};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
