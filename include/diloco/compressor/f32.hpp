// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/compressor.hpp>
#include <diloco/core/access.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Sends the float32 values unchanged, 32 bits each. It is lossless, so there is no residual.
struct f32 {
  static constexpr std::string_view name = "f32";
  static constexpr int block = 256;
  static constexpr compressor_traits traits{.lossless = true};
  static constexpr float largest = 3.4028235e38f;
  static constexpr float smallest = 0x1p-149f;  // the smallest float
  static constexpr std::size_t side_bytes = 0;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return 4 * n; }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, block> const& x, block_info info, wire_block out) const {
    float* DILOCO_RESTRICT code = reinterpret_cast<float*>(out.code) + first_element<L, block>(l);
    int const mine = owned_elements<L, block>(l, info.count);
    write_lane<L, lane_elements<L, block>>(code, mine, [&](int i) { return x.v[i]; });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const* DILOCO_RESTRICT code = reinterpret_cast<float const*>(in.code) + first_element<L, block>(l);
    int const mine = owned_elements<L, block>(l, count);
    read_lane<L, lane_elements<L, block>>(code, mine, [&](int i, float y) { sink(i, finite_or_zero(y)); });
  }
  friend bool operator==(f32 const&, f32 const&) = default;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
