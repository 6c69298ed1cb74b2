// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/block_sums.hpp>
#include <diloco/compressor/detail/integer.hpp>
#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What QSGD divides elements by: the block's largest magnitude, or its Euclidean norm.
enum class qsgd_norm { max, l2 };

/// Stochastic integers (Alistarh et al. 2017): q = ⌊x·L/norm + u⌋, u uniform in [0, 1), L = 2^(Bits−1) − 1. A
/// code decodes to (q/L)·norm. It is unbiased, at twice the error of the nearest integer: NMSE 2.8e-2 at 4
/// bits and Block 128 on Gaussian data.
/// With the L2 norm the NMSE is 1.3e-3 at 8 bits. At 4 bits it is 0.43, because hardly any element reaches a
/// level. The error averages out over workers, but it hurts error feedback. At 2 bits with the largest
/// magnitude it is TernGrad.
/// u comes from Philox4x32-10, in steps of 2⁻¹⁶. The seed is the key; round, rank, phase and element are the
/// counter. Host and device draw the same numbers, and a repeated round is the same.
template <int Bits, int Block = 128, qsgd_norm Norm = qsgd_norm::max>
struct qsgd {
  std::uint64_t seed = 0;

  static constexpr auto label = join(std::string_view(Norm == qsgd_norm::max ? "qsgd" : "qsgd_l2_"),
                                     unsigned(Bits), std::string_view("/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr compressor_traits traits{};
  static constexpr float largest = 3.4028235e38f / 64;  // the norm of 512 such numbers is a valid scale
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::size_t side_bytes = sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<Bits>(n); }
  static_assert((Block & (Block - 1)) == 0, "diloco: qsgd: Block must be a power of two");
  static_assert(
      Block > 0 && Block * Bits % 256 == 0,
      "diloco: compressor: Block must be a multiple of 256 over the bits of a code, so that each of 32 lanes "
      "holds whole bytes");

  template <lanes L>
  DILOCO_HD void encode(L l, lane_block<L, Block> const& x, block_info info, wire_block out) const {
    bool const zero = info.amax < smallest_block_magnitude;
    float norm = zero ? 0.0f : info.amax;
    if constexpr (Norm == qsgd_norm::l2) {
      std::uint32_t least = 1;
      norm = product(detail::root_mean_square<Block>(l, x, info, least),
                     std::sqrt(static_cast<float>(info.count)));
    }
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = norm;
    float const scale = zero ? 0.0f : levels / norm;
    float u[lane_elements<L, Block>];
    draw_centred(u, info.element + static_cast<std::uint64_t>(first_element<L, Block>(l)), info.stream, seed);
    pack<Bits, Block>(l, info.count, out.code, [&](int i) {
      // ⌊v + u⌋ is the nearest integer to v + (u − ½). Rounding may put the largest v above L, so v is
      // clamped.
      float const v = fma(x.v[i], scale, u[i]), kept = v > levels ? levels : v < -levels ? -levels : v;
      return zero ? 0u : format::code(kept, 1.0f);
    });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const norm = detail::scale_on_wire(in.side);
    unpack<Bits, Block>(l, count, in.code, [&](int i, std::uint32_t top) {
      sink(i, product(format::value(top) * (format::step / levels), norm));
    });
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("seed", seed, range{0, 9007199254740992.0});
  }
  friend bool operator==(qsgd const&, qsgd const&) = default;

 private:
  using format = detail::integer<Bits>;
  static constexpr float levels = format::levels;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
