// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/minifloat.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A minifloat format. Its largest number stands for the block's largest magnitude.
template <class Float>
struct floating {
  static constexpr int bits = Float::bits;
  static constexpr float levels = Float::largest;
  DILOCO_HD static std::uint32_t code(float x, float scale) { return Float::narrow(product(x, scale)); }
  DILOCO_HD static float value(std::uint32_t top) { return Float::widen_top(top); }
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
