// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/block_sums.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The factor of a sign. mean: the block's mean |x|, which has the least error (1 − 2/π on Gaussian data).
/// rms: its root mean square (1-bit Adam). The error is 0.405; larger steps drain a residual faster.
/// two_means: the mean of its negative elements and that of its other elements (Seide et al. 2014). vote: no
/// factor, a vote of ±1.
enum class sign_scale { mean, rms, two_means, vote };

/// One bit per element, and a scale chosen by `Scale` (Bernstein et al. 2018; Karimireddy et al. 2019). NMSE
/// is 0.363 on Gaussian data, so it needs error feedback.
/// An exact 0 stays 0. In a group of Block/8 elements that holds a 0, one of the two codes means 0. Nonzero
/// elements of that sign stay in the residual. The scale is then a mean of the elements that are sent.
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
  static constexpr compressor_traits traits{};
  static constexpr float largest = detail::largest_scale;
  static constexpr float smallest = Scale == sign_scale::vote ? 0x1p-149f : smallest_block_magnitude;
  /// A vote has no scale. It sends only the word of its groups.
  static constexpr std::size_t side_bytes = Scale == sign_scale::vote        ? 2
                                            : Scale == sign_scale::two_means ? 8
                                                                             : 4;
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<1>(n); }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, Block> const& x, block_info info, wire_block out) const {
    std::uint32_t least = 1;
    write_scale(l, x, info, out.side, least);
    if (detail::may_hold_zero(l, least) && encode_beside_zeros(l, x, info, out)) return;
    pack<1, Block>(l, info.count, out.code, [&](int i) { return x.v[i] < 0.0f ? 1u : 0u; });
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    if (has_zeros(in.side)) {
      decode_beside_zeros(l, count, in, sink);
    } else if constexpr (Scale == sign_scale::two_means) {
      std::uint32_t const plus = bits_of(detail::scale_on_wire(in.side));
      float const minus = detail::scale_on_wire(in.side + sizeof(float));
      std::uint32_t const negative = minus == 0.0f ? 0u : bits_of(-minus);
      unpack<1, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
        sink(i, float_of(static_cast<std::int32_t>(top) < 0 ? negative : plus));
      });
    } else {
      std::uint32_t const scale = bits_of(Scale == sign_scale::vote ? 1.0f : detail::scale_on_wire(in.side));
      // A block whose scale is 0 has no signs: every element is +0.
      std::uint32_t const mask = scale == 0 ? 0u : 0x80000000u;
      unpack<1, Block>(l, count, in.code,
                       [&](int i, std::uint32_t top) { sink(i, float_of(scale | (top & mask))); });
    }
  }
  friend bool operator==(sign const&, sign const&) { return true; }

 private:
  template <lanes L>
  using zero_groups = detail::zero_groups<Block, L>;

  template <lanes L>
  DILOCO_HD static void write_scale(L l, lane_block<L, Block> const& x, block_info info, std::byte* side,
                                    std::uint32_t& least) {
    if constexpr (Scale == sign_scale::vote) {
      std::uint32_t lowest = 1;
      for (int i = 0; i < x.size; ++i) lowest = detail::lesser(lowest, magnitude_bits(x.v[i]));
      least = lowest;
      if (L::rank() == 0) *reinterpret_cast<std::uint16_t*>(side) = 0;
    } else if constexpr (Scale == sign_scale::two_means) {
      write_two_means(l, x, info, reinterpret_cast<float*>(side), least);
    } else {
      float const scale = Scale == sign_scale::mean ? detail::mean_magnitude<Block>(l, x, info, least)
                                                    : detail::root_mean_square<Block>(l, x, info, least);
      if (L::rank() == 0) *reinterpret_cast<float*>(side) = scale;
    }
  }
  template <lanes L>
  DILOCO_HD static void write_two_means(L, lane_block<L, Block> const& x, block_info info, float* side,
                                        std::uint32_t& least) {
    bool const zero = info.amax < smallest_block_magnitude;
    float const scale = zero ? 0.0f : 4194304.0f / info.amax;
    std::uint32_t plus = 0, minus = 0, negatives = 0, lowest = 1;
    for (int i = 0; i < x.size; ++i) {
      std::uint32_t const magnitude = detail::fixed_point(std::fabs(x.v[i]), scale);
      plus += x.v[i] < 0.0f ? 0u : magnitude;
      minus += x.v[i] < 0.0f ? magnitude : 0u;
      negatives += x.v[i] < 0.0f ? 1u : 0u;
      lowest = detail::lesser(lowest, magnitude_bits(x.v[i]));
    }
    least = zero ? 1u : lowest;
    std::uint32_t const below = L::sum(negatives), above = static_cast<std::uint32_t>(info.count) - below;
    float const unit = zero ? 0.0f : info.amax * 0x1p-22f;
    float const mean_plus =
        static_cast<float>(L::sum(plus)) / static_cast<float>(above == 0 ? 1 : above) * unit;
    float const mean_minus =
        static_cast<float>(L::sum(minus)) / static_cast<float>(below == 0 ? 1 : below) * unit;
    if (L::rank() == 0) {
      side[0] = mean_plus;
      side[1] = mean_minus;
    }
  }

  /// Writes the block and returns true if it holds an exact 0. The choice of the sign counts elements (vote),
  /// adds squares (rms) or adds magnitudes (the others).
  template <lanes L>
  DILOCO_RARE DILOCO_HD static bool encode_beside_zeros(L l, lane_block<L, Block> const& x, block_info info,
                                                        wire_block out) {
    float const scale = Scale == sign_scale::vote ? 0.0f : 4194304.0f / info.amax;
    float const inverse = Scale == sign_scale::vote ? 0.0f : 1.0f / info.amax;
    zero_groups<L> const zeros(l, x, info.count, [&](float magnitude) {
      if constexpr (Scale == sign_scale::vote)
        return magnitude > 0.0f ? 1u : 0u;
      else if constexpr (Scale == sign_scale::rms)
        return detail::fixed_square(magnitude, inverse);
      else
        return detail::fixed_point(magnitude, scale);
    });
    if (zeros.word == 0) return false;
    std::uint8_t q[lane_elements<L, Block>];
    zeros.each(l, x, [&](int i, std::uint32_t negative) { q[i] = static_cast<std::uint8_t>(negative); });
    pack<1, Block>(l, info.count, out.code, [&](int i) { return static_cast<std::uint32_t>(q[i]); });
    if (L::rank() == 0) write_beside_zeros(info.amax, zeros.sum, zeros.count, zeros.word, out.side);
    return true;
  }
  DILOCO_HD static void write_beside_zeros(float amax, std::uint32_t const (&sum)[2],
                                           std::uint32_t const (&count)[2], std::uint32_t word,
                                           std::byte* side) {
    auto* const to = reinterpret_cast<float*>(side);
    if constexpr (Scale == sign_scale::vote) {
      *reinterpret_cast<std::uint16_t*>(side) = static_cast<std::uint16_t>(word);
    } else if constexpr (Scale == sign_scale::two_means) {
      to[0] = float_of(detail::beside_zeros(detail::mean_of(sum[0], count[0], amax), word, largest));
      to[1] = detail::mean_of(sum[1], count[1], amax);
    } else {
      std::uint32_t const total = sum[0] + sum[1], sent = count[0] + count[1];
      float const scale = Scale == sign_scale::mean ? detail::mean_of(total, sent, amax)
                                                    : detail::root_mean_of(total, sent, amax);
      to[0] = float_of(detail::beside_zeros(scale, word, largest));
    }
  }
  DILOCO_HD static bool has_zeros(std::byte const* side) {
    if constexpr (Scale == sign_scale::vote)
      return *reinterpret_cast<std::uint16_t const*>(side) != 0;
    else
      return detail::stands_beside_zeros(side);
  }
  template <lanes L, class Sink>
  DILOCO_HD static void decode_beside_zeros(L l, int count, wire_block_view in, Sink& sink) {
    float plus = 1.0f, minus = 1.0f;
    std::uint32_t word = 0;
    if constexpr (Scale == sign_scale::vote) {
      word = *reinterpret_cast<std::uint16_t const*>(in.side);
    } else {
      word = detail::word_of_zeros(in.side);
      plus = minus = detail::scale_beside_zeros(in.side, largest);
    }
    if constexpr (Scale == sign_scale::two_means) minus = detail::scale_on_wire(in.side + sizeof(float));
    zero_groups<L> const zeros(word);
    unpack_groups<1, Block, zero_groups<L>::group>(l, count, in.code, [&, plus, minus](int g) {
      std::uint32_t const reads_0 = zeros.of(l, g);
      float const above = (reads_0 & detail::positive_reads_0) != 0 ? 0.0f : plus;
      float const below = (reads_0 & detail::negative_reads_0) != 0 || minus == 0.0f ? 0.0f : -minus;
      return [&sink, above, below](int i, std::uint32_t top) {
        sink(i, static_cast<std::int32_t>(top) < 0 ? below : above);
      };
    });
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
