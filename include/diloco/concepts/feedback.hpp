// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace v0 {

/// What a worker failed to say before: x = want(Δ, e) is compressed to y, then e ← keep(x, y).
/// `remembers` = it needs a residual column; a lossless compressor makes the engine drop it.
template <class F>
concept feedback = std::copyable<F> && std::is_trivially_copyable_v<F> && requires(F const& f, float a) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::remembers } -> std::convertible_to<bool>;
  { f.want(a, a) } -> std::same_as<float>;
  { f.keep(a, a) } -> std::same_as<float>;
};

}  // namespace v0
}  // namespace diloco
