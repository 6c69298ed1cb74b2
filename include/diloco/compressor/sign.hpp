// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/block_sums.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What a sign is multiplied by: the block's mean |x| (least error, 1 − 2/π on Gaussian data), its root mean square (1-bit
/// Adam; 0.405, larger steps that drain a residual faster), the means of its negative and of its other elements (Seide et
/// al. 2014), or nothing: a vote of ±1, of +1 also where x is 0, so that rows without a gradient want a mask.
enum class sign_scale { mean, rms, two_means, vote };

/// One bit per element and what `Scale` says (Bernstein et al. 2018; Karimireddy et al. 2019): +0 counts as +, −0 too. NMSE
/// 0.363 on Gaussian data; wants error feedback.
template <int Block = 256, sign_scale Scale = sign_scale::mean>
struct sign {
  static_assert(Block == 256 || Block == 512, "diloco: sign: Block is 256 or 512");

  static constexpr auto label = join(std::string_view(Scale == sign_scale::mean   ? "sign/"
                                                      : Scale == sign_scale::rms  ? "sign_rms/"
                                                      : Scale == sign_scale::vote ? "sign_vote/"
                                                                                  : "sign_two_means/"),
                                     unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr bool lossless = false;
  static constexpr float largest = detail::largest_scale;
  static constexpr std::size_t side_bytes = Scale == sign_scale::vote ? 0 : Scale == sign_scale::two_means ? 8 : 4;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<1>(n); }

  template <lanes L>
  DILOCO_HD void encode(L l, fragment<L, Block> const& x, block_info info, wire_block out) const {
    write_scale(l, x, info, reinterpret_cast<float*>(out.side));
    pack<1, Block>(l, info.count, out.code, [&](int i) { return x.v[i] < 0.0f ? 1u : 0u; });
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    if constexpr (Scale == sign_scale::two_means) {
      std::uint32_t const plus = bits_of(detail::scale_on_wire(in.side));
      float const minus = detail::scale_on_wire(in.side + sizeof(float));
      std::uint32_t const negative = minus == 0.0f ? 0u : bits_of(-minus);
      unpack<1, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
        sink(i, float_of(static_cast<std::int32_t>(top) < 0 ? negative : plus));
      });
    } else {
      std::uint32_t const scale = bits_of(Scale == sign_scale::vote ? 1.0f : detail::scale_on_wire(in.side));
      // A zero block with a scale has no sign to give: every element is +0.
      std::uint32_t const mask = scale == 0 ? 0u : 0x80000000u;
      unpack<1, Block>(l, count, in.code, [&](int i, std::uint32_t top) { sink(i, float_of(scale | (top & mask))); });
    }
  }
  friend bool operator==(sign const&, sign const&) { return true; }

 private:
  template <lanes L>
  DILOCO_HD static void write_scale(L l, fragment<L, Block> const& x, block_info info, [[maybe_unused]] float* side) {
    if constexpr (Scale == sign_scale::mean || Scale == sign_scale::rms) {
      float const scale = Scale == sign_scale::mean ? detail::mean_magnitude<Block>(l, x, info)
                                                    : detail::root_mean_square<Block>(l, x, info);
      if (L::rank() == 0) *side = scale;
    } else if constexpr (Scale == sign_scale::two_means) {
      bool const zero = info.amax < smallest_block_magnitude;
      float const scale = zero ? 0.0f : 4194304.0f / info.amax;
      std::uint32_t plus = 0, minus = 0, negatives = 0;
      for (int i = 0; i < x.size; ++i) {
        std::uint32_t const magnitude = detail::fixed_point(std::fabs(x.v[i]), scale);
        plus += x.v[i] < 0.0f ? 0u : magnitude;
        minus += x.v[i] < 0.0f ? magnitude : 0u;
        negatives += x.v[i] < 0.0f ? 1u : 0u;
      }
      std::uint32_t const below = L::sum(negatives), above = static_cast<std::uint32_t>(info.count) - below;
      float const unit = zero ? 0.0f : info.amax * 0x1p-22f;
      float const mean_plus = static_cast<float>(L::sum(plus)) / static_cast<float>(above == 0 ? 1 : above) * unit;
      float const mean_minus = static_cast<float>(L::sum(minus)) / static_cast<float>(below == 0 ? 1 : below) * unit;
      if (L::rank() == 0) {
        side[0] = mean_plus;
        side[1] = mean_minus;
      }
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
