// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/block_sums.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/pick.hpp>
#include <diloco/core/text.hpp>

#include <string_view>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

// The best symmetric quantizer of N(0, 1) with 2^Bits numbers (Lloyd 1957, Max 1960). The functions return
// the k-th non-negative number in rising order and the threshold below it. They are functions because device
// code cannot index a static array.

template <int Bits>
DILOCO_HD constexpr float lloyd_max_number(int k) {
  constexpr float one[1] = {0.79788456f};
  constexpr float two[2] = {0.45278f, 1.51042f};
  constexpr float three[4] = {0.24509f, 0.75601f, 1.34391f, 2.15195f};
  constexpr float four[8] = {0.12840f, 0.38805f, 0.65676f, 0.94234f, 1.25623f, 1.61805f, 2.06902f, 2.73259f};
  return Bits == 1 ? one[k] : Bits == 2 ? two[k] : Bits == 3 ? three[k] : four[k];
}

template <int Bits>
DILOCO_HD constexpr float lloyd_max_threshold(int k) {
  constexpr float two[2] = {0.0f, 0.98160f};
  constexpr float three[4] = {0.0f, 0.50055f, 1.04996f, 1.74793f};
  constexpr float four[8] = {0.0f, 0.25822f, 0.52240f, 0.79955f, 1.09929f, 1.43714f, 1.84353f, 2.40080f};
  return Bits == 2 ? two[k] : Bits == 3 ? three[k] : four[k];
}

}  // namespace detail

/// A fixed table for Gaussian data, scaled by the block's root mean square. A code is a sign and the index of
/// a magnitude. NMSE is 0.363, 0.1175, 0.0345, 0.0095 at 1 to 4 bits, the least that any fixed table reaches
/// on such data.
/// It clips beyond about 3 rms, so heavy tails need a small block. At 3 bits, a plane holds 2-bit indices and
/// another plane the signs.
/// An exact 0 stays 0. In a group of Block/8 elements that holds a 0, the least number of one sign means 0.
/// The scale is then the rms of the nonzero elements.
template <int Bits, int Block = 256>
struct lloyd_max {
  static_assert(Bits >= 1 && Bits <= 4, "diloco: lloyd_max: Bits is 1, 2, 3 or 4");
  static_assert(Block == 256 || Block == 512, "diloco: lloyd_max: Block is 256 or 512");

  static constexpr auto label =
      join(std::string_view("lloyd_max"), unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 3.4028235e38f / 4;  // the largest number of the scaled table is finite
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return planes_bytes<Bits>(n); }

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, Block> const& x, block_info info, wire_block out) const {
    std::uint32_t least = 1;
    float const rms = detail::root_mean_square<Block>(l, x, info, least);
    if (detail::may_hold_zero(l, least) && encode_beside_zeros(l, x, info, out)) return;
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = rms;
    std::uint8_t q[lane_elements<L, Block>];
    for (int i = 0; i < x.size; ++i) {
      std::uint32_t const k = index_of(std::fabs(x.v[i]), rms, others{});
      // The code is shifted up and down again. Otherwise g++ packs each comparison to bytes on its own
      // (lloyd_max<4>: 1.5 instead of 1.2 ns per element).
      std::uint32_t const top = k << (32 - Bits) | (x.v[i] < 0.0f ? 0x80000000u : 0u);
      q[i] = static_cast<std::uint8_t>((rms == 0.0f ? 0u : top) >> (32 - Bits));
    }
    pack_planes<Bits, Block>(l, info.count, out.code, q);
  }

  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    if (detail::stands_beside_zeros(in.side)) return decode_beside_zeros(l, count, in, sink);
    float const written = detail::scale_on_wire(in.side), rms = written <= largest ? written : 0.0f;
    auto const scaled = [&](int k) { return product(rms, detail::lloyd_max_number<Bits>(k)); };
    auto const number = [&](int i, std::uint32_t top) {
      float const y = detail::pick<0, 1 << (Bits - 1)>(top << 1, scaled);
      sink(i, float_of(rms == 0.0f ? 0u : bits_of(y) | (top & 0x80000000u)));
    };
    unpack_groups<Bits, Block, Block>(l, count, in.code, [&](int) { return number; });
  }
  friend bool operator==(lloyd_max const&, lloyd_max const&) { return true; }

 private:
  template <lanes L>
  using zero_groups = detail::zero_groups<Block, L>;

  /// Writes the block and returns true if it holds an exact 0.
  template <lanes L>
  DILOCO_RARE DILOCO_HD static bool encode_beside_zeros(L l, lane_block<L, Block> const& x, block_info info,
                                                        wire_block out) {
    float const inverse = 1.0f / info.amax;
    zero_groups<L> const zeros(l, x, info.count,
                               [&](float magnitude) { return detail::fixed_square(magnitude, inverse); });
    if (zeros.word == 0) return false;
    std::uint32_t sum = 0, count = 0;
    for (int i = 0; i < x.size; ++i) {
      sum += detail::fixed_square(x.v[i], inverse);
      count += x.v[i] != 0.0f ? 1u : 0u;
    }
    float const rms = detail::root_mean_of(L::sum(sum), L::sum(count), info.amax);
    std::uint8_t q[lane_elements<L, Block>];
    zeros.each(l, x, [&](int i, std::uint32_t negative) {
      std::uint32_t const k = index_of(std::fabs(x.v[i]), rms, others{});
      q[i] = static_cast<std::uint8_t>(k | negative << (Bits - 1));
    });
    pack_planes<Bits, Block>(l, info.count, out.code, q);
    if (L::rank() == 0)
      *reinterpret_cast<float*>(out.side) = float_of(detail::beside_zeros(rms, zeros.word, largest));
    return true;
  }
  template <lanes L, class Sink>
  DILOCO_HD static void decode_beside_zeros(L l, int count, wire_block_view in, Sink& sink) {
    float const rms = detail::scale_beside_zeros(in.side, largest);
    zero_groups<L> const zeros(detail::word_of_zeros(in.side));
    auto const scaled = [rms](int k) { return product(rms, detail::lloyd_max_number<Bits>(k)); };
    unpack_groups<Bits, Block, zero_groups<L>::group>(l, count, in.code, [&](int g) {
      std::uint32_t const reads_0 = zeros.of(l, g);
      return [&sink, scaled, reads_0](int i, std::uint32_t top) {
        std::uint32_t const sign = top & 0x80000000u,
                            asks = sign != 0 ? detail::negative_reads_0 : detail::positive_reads_0;
        float const y = detail::pick<0, 1 << (Bits - 1)>(top << 1, scaled);
        bool const least = Bits == 1 || (top & 0x7fffffffu) >> (32 - Bits) == 0;
        sink(i, y == 0.0f || (least && (reads_0 & asks) != 0) ? 0.0f : float_of(bits_of(y) | sign));
      };
    });
  }
  /// 0 … 2^(Bits−1) − 2, spelled out because g++ does not vectorize around an inner loop.
  using others = std::make_integer_sequence<int, (1 << (Bits - 1)) - 1>;
  template <int... K>
  DILOCO_HD static std::uint32_t index_of([[maybe_unused]] float magnitude, [[maybe_unused]] float rms,
                                          std::integer_sequence<int, K...>) {
    return (0u + ... + (magnitude >= product(rms, detail::lloyd_max_threshold<Bits>(K + 1)) ? 1u : 0u));
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
