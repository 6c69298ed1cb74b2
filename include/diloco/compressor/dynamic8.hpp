// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/scaled_codes.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace v0 {

/// The dynamic 8-bit map (Dettmers et al. 2022): decade d = 0 … 6 of [10⁻⁷, 1] in 2^d equal cells with their midpoints as
/// numbers, both signs, 0 and 1; 256 numbers in rising order, the nearest wins. Scaled by the block's largest magnitude.
/// Errors stay small relative to each element over six decades, which states and residuals want: NMSE 1.2e-4 on Gaussian data,
/// 1.3e-4 on heavy tails.
template <int Block = 256>
struct dynamic8 {
  static constexpr auto label = join(std::string_view("dynamic8/"), unsigned(Block));
  static constexpr std::string_view name = label.view();
  static constexpr int block = Block;
  static constexpr bool lossless = false;
  static constexpr float largest = detail::largest_scale;
  static constexpr std::size_t side_bytes = sizeof(float);
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return n; }
  static_assert(Block % 32 == 0, "diloco: dynamic8: Block is a multiple of 32");

  template <lanes L>
  DILOCO_HD void encode(L l, fragment<L, Block> const& x, block_info info, wire_block out) const {
    bool const zero = info.amax < smallest_block_magnitude;
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = zero ? 0.0f : info.amax;
    float const scale = zero ? 0.0f : 1.0f / info.amax;
    pack<8, Block>(l, info.count, out.code, [&](int i) { return code(product(x.v[i], scale)); });
  }
  template <lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, wire_block_view in, Sink&& sink) const {
    float const amax = detail::scale_on_wire(in.side);
    unpack<8, Block>(l, count, in.code,
                     [&](int i, std::uint32_t top) { sink(i, product(number(static_cast<int>(top >> 24)), amax)); });
  }
  friend bool operator==(dynamic8 const&, dynamic8 const&) { return true; }

  /// The number of a code, 0 … 255, at amax = 1: code − 127 = ±(2^d + cell), 0 is 0 and 128 is 1.
  DILOCO_HD static float number(int code) {
    int const signed_index = code - 127;
    std::uint32_t const index = static_cast<std::uint32_t>(signed_index < 0 ? -signed_index : signed_index);
    float const k = static_cast<float>(index);
    std::uint32_t const decade = (bits_of(k) >> 23) - 127u;
    // (cell + ½)/2^d, exact: k/2^d = 1 + cell/2^d.
    float const width = float_of((127u - (decade & 7u)) << 23);
    float const within = fma(k, width, fma(0.5f, width, -1.0f));
    float const magnitude = product(fma(0.9f, within, 0.1f), power_of_ten(decade));
    float const y = index == 0 ? 0.0f : index >= 128 ? 1.0f : magnitude;
    return signed_index < 0 ? -y : y;
  }

 private:
  /// Largest number of each decade: 10^(d − 6).
  DILOCO_HD static float power_of_ten(std::uint32_t decade) {
    float p = 1e-6f;
    p = decade >= 1 ? 1e-5f : p;
    p = decade >= 2 ? 1e-4f : p;
    p = decade >= 3 ? 1e-3f : p;
    p = decade >= 4 ? 1e-2f : p;
    p = decade >= 5 ? 1e-1f : p;
    return decade >= 6 ? 1.0f : p;
  }
  DILOCO_HD static float reciprocal_power_of_ten(std::uint32_t decade) {
    float p = 1e6f;
    p = decade >= 1 ? 1e5f : p;
    p = decade >= 2 ? 1e4f : p;
    p = decade >= 3 ? 1e3f : p;
    p = decade >= 4 ? 1e2f : p;
    p = decade >= 5 ? 1e1f : p;
    return decade >= 6 ? 1.0f : p;
  }
  /// Between the last number of decade d − 1 and the first of d lies the threshold; 0 counts as a decade before the first.
  DILOCO_HD static std::uint32_t code(float t) {
    float const a = std::fabs(t);
    std::uint32_t above = 0;  // thresholds reached: 0 is zero, 1 … 7 the decades, 8 the number 1
    above += a >= 2.75e-7f ? 1u : 0u;
    above += a >= 1.9e-6f ? 1u : 0u;  // 10^(d−6)·(1 + 0.9/2^d) for d = 0 … 5
    above += a >= 1.45e-5f ? 1u : 0u;
    above += a >= 1.225e-4f ? 1u : 0u;
    above += a >= 1.1125e-3f ? 1u : 0u;
    above += a >= 1.05625e-2f ? 1u : 0u;
    above += a >= 1.028125e-1f ? 1u : 0u;
    above += a >= 0.996484375f && t > 0.0f ? 1u : 0u;
    std::uint32_t const decade = above == 0 ? 0u : above - 1u;
    float const cells = float_of((127u + (decade & 7u)) << 23);
    float const within = product(fma(a, reciprocal_power_of_ten(decade), -0.1f), cells * (1.0f / 0.9f));
    float const last = cells - 1.0f;
    float const clamped = within < 0.0f ? 0.0f : within > last ? last : within;
    // Truncation is floor here.
    std::uint32_t const cell = static_cast<std::uint32_t>(static_cast<std::int32_t>(clamped));
    std::uint32_t const index = above == 0 ? 0u : above == 8 ? 128u : (1u << decade) + cell;
    return t < 0.0f ? 127u - index : 127u + index;
  }
};

}  // namespace v0
}  // namespace diloco
