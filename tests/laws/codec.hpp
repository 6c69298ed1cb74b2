// SPDX-License-Identifier: Apache-2.0
// What every compressor promises, and helpers that pass one block through it.
#pragma once

#include "support.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

namespace laws {

using namespace diloco;

/// What a compressor promises. `error`: the largest |x − decode(encode(x))| for an element x of a block with
/// largest magnitude amax.
/// `canonical`: encoding the decoded values gives the same bytes.
/// The digest is that of the message for a fixed input. It must never change by accident.
template <class C>
struct promise;

template <std::uint64_t Digest, bool Canonical = true>
struct promises {
  static constexpr std::uint64_t digest = Digest;
  static constexpr bool canonical = Canonical;
};

// Rounding of the scale adds to half a step.
inline constexpr double roundings = 1.00001;

template <>
struct promise<f32> : promises<13729512229534212007ull> {
  static double error(double, double) { return 0; }
};
template <>
struct promise<f16> : promises<1296108367836292068ull> {
  // Half a unit in the last place: relative 2⁻¹¹, or 2⁻²⁵ where binary16 is subnormal.
  static double error(double x, double) { return std::max(std::fabs(x) * 0x1p-11, 0x1p-25); }
};
template <>
struct promise<bf16> : promises<6174242644149995717ull> {
  static double error(double x, double) { return std::fabs(x) * 0x1p-8; }
};
template <>
struct promise<scaled_f16<>> : promises<13659449081532917906ull> {
  static double error(double x, double amax) { return std::max(std::fabs(x) * 0x1p-11, amax * 0x1p-25); }
};
template <int Bits, int Block>
struct promise<absmax<Bits, Block>>
    : promises<Bits == 8   ? (Block == 256 ? 12597922221080265039ull : 4444573655676946571ull)
               : Bits == 4 ? (Block == 256 ? 6100464659477518290ull : 12920399614631091824ull)
                           : 11363980591603080586ull> {
  static double error(double, double amax) { return amax / (2.0 * ((1 << (Bits - 1)) - 1)) * roundings; }
};
template <int Bits>
struct promise<min_max<Bits>> : promises<Bits == 8   ? 7133890506200197265ull
                                         : Bits == 4 ? 3524014648180560025ull
                                                     : 8281733387945966762ull> {
  static double error(double, double amax) { return amax / ((1 << Bits) - 1) * roundings; }
};
template <int Block, sign_scale Scale>
struct promise<sign<Block, Scale>>
    : promises<Scale == sign_scale::mean  ? (Block == 256 ? 6496070535484641760ull : 16243668606115894512ull)
               : Scale == sign_scale::rms ? 10321395043570401978ull
                                          : 16870387793083005759ull,
               Scale != sign_scale::two_means> {
  static double error(double, double amax) { return amax; }
};
// Minifloats: half a unit in the last place, relative, or half the subnormal unit.
template <>
struct promise<e4m3<>> : promises<1957666903300588584ull> {
  static double error(double x, double amax) {
    return std::max(std::fabs(x) * 0x1p-4, amax / 448 * 0x1p-10) * roundings;
  }
};
template <>
struct promise<e5m2<>> : promises<12371793779583445427ull> {
  static double error(double x, double amax) {
    return std::max(std::fabs(x) * 0x1p-3, amax / 57344 * 0x1p-17) * roundings;
  }
};
template <>
struct promise<e2m1<>> : promises<2350515424735694424ull> {
  static double error(double x, double amax) {
    return std::max(std::fabs(x) * 0.25, amax / 6 * 0.25) * roundings;
  }
};
template <>
struct promise<e3m0<>> : promises<12892487552336823456ull> {
  static double error(double x, double amax) { return std::max(std::fabs(x) / 3, amax * 0x1p-7) * roundings; }
};
// The shared power of two is up to a factor 2 below the exact scale. So the largest elements may also
// saturate.
template <>
struct promise<mxfp8> : promises<11999615998966713678ull> {
  static double error(double x, double amax) { return std::max(std::fabs(x) / 8, amax * 0x1p-18); }
};
template <>
struct promise<mxfp6> : promises<8749209883818392544ull> {
  static double error(double x, double amax) { return std::max(std::fabs(x) / 16, amax * 0x1p-6); }
};
template <>
struct promise<mxfp4> : promises<3632202901895318339ull> {
  static double error(double x, double amax) { return std::max(std::fabs(x) / 4, amax / 16); }
};
template <>
struct promise<nvfp4> : promises<18259083795926214016ull, false> {
  // The group's scale has an error of up to 1/16 in either direction.
  static double error(double x, double amax) { return std::max(std::fabs(x) * 0.32, amax / 6 * 0.27); }
};
template <int Bits, int Block>
struct promise<lloyd_max<Bits, Block>> : promises<Bits == 1   ? 10321395043570401978ull
                                                  : Bits == 2 ? 4756400870880278598ull
                                                  : Bits == 3 ? 4454808943904869982ull
                                                              : 6041316930269542450ull,
                                                  false> {
  static double error(double, double amax) { return amax; }
};
template <>
struct promise<dynamic8<>> : promises<16791211395017884818ull, false> {
  // Half a cell: 0.45·10^(d−6)/2^d, which is at most 0.45 of the number in decade 0 and below.
  static double error(double x, double amax) {
    double const t = std::fabs(x) / amax;
    double half = 0.45 * 1e-6, top = 1e-6;
    for (int d = 1; d <= 6 && t > top; ++d, top *= 10) half = 0.45 * top * 10 / (1 << d);
    // Between two decades, the wider cell determines the error.
    return std::max(half, 0.45 * top * 10 / (top < 0.5 ? 2 : 64) * (t > 0.5 * top ? 1 : 0)) * amax *
           roundings;
  }
};
template <natural_rounding R>
struct promise<natural<R>>
    : promises<R == natural_rounding::nearest ? 13610704972174570702ull : 4825678747418264772ull> {
  static double error(double x, double) {
    return std::max(std::fabs(x) / (R == natural_rounding::nearest ? 3 : 1), 0x1p-126);
  }
};
template <int Bits, int Block, qsgd_norm Norm>
struct promise<qsgd<Bits, Block, Norm>> : promises<Norm == qsgd_norm::l2 ? 17336360007225883861ull
                                                   : Bits == 4           ? 9701969126977095096ull
                                                                         : 18056022718135456979ull,
                                                   false> {
  static double error(double, double amax) {
    double const norm = Norm == qsgd_norm::max ? amax : amax * std::sqrt(double(Block));
    return norm / ((1 << (Bits - 1)) - 1) * roundings;
  }
};
template <int N, class Inner>
struct promise<hadamard<N, Inner>> : promises<11405360697138044282ull, false> {
  // N errors of the inner compressor, each up to its bound at √N·amax, are summed with weight N^−½.
  static double error(double, double amax) { return N * promise<Inner>::error(amax, amax) * roundings; }
};

/// Every block compressor, for the laws and for tests/fuzz. Add a new one at the end and its promise above.
using block_compressors =
    std::tuple<f32, f16, bf16, scaled_f16<>, absmax<8>, absmax<4>, absmax<8, 64>, absmax<4, 128>,
               absmax<2, 128>, min_max<8>, min_max<4>, min_max<2>, e4m3<>, e5m2<>, e2m1<>, e3m0<>, mxfp8,
               mxfp6, mxfp4, nvfp4, sign<>, sign<512>, sign<256, sign_scale::rms>,
               sign<256, sign_scale::two_means>, lloyd_max<1>, lloyd_max<2>, lloyd_max<3>, lloyd_max<4>,
               dynamic8<>, natural<>, natural<natural_rounding::stochastic>, qsgd<8, 128, qsgd_norm::l2>,
               qsgd<4>, qsgd<2>, hadamard<32, absmax<4, 128>>>;

template <class C>
struct coded {
  std::vector<std::byte> code, side;
};

/// Encodes one block with the lanes that own it.
template <class C>
struct encode_block_kernel {
  C compressor;
  float const* x;  // (block)
  block_info info;
  wire_block to;
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    lane_block<L, C::block> f;
    for (int i = 0; i < f.size; ++i) f.v[i] = x[first_element<L, C::block>(l) + i];
    compressor.encode(l, f, info, to);
  }
};
/// Decodes one block in the same way.
template <class C>
struct decode_block_kernel {
  C compressor;
  int count;
  wire_block_view from;
  float* y;  // (block)
  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t) const {
    float* const mine = y + first_element<L, C::block>(l);
    compressor.decode(l, count, from, [mine](int i, float v) { mine[i] = v; });
  }
};

/// `element` and `stream` are for compressors that draw.
template <class C>
coded<C> encode(C const& c, float const* x, int count, std::uint64_t element = 0, draw stream = {}) {
  std::vector<float> block(C::block);
  std::copy_n(x, count, block.begin());
  float amax = 0;
  for (float v : block) amax = std::max(amax, std::fabs(v));
  // The canary after the code must survive.
  std::size_t const bytes = C::code_bytes(static_cast<std::size_t>(count));
  coded<C> w{std::vector<std::byte>(bytes + 8, std::byte{0xA5}),
             std::vector<std::byte>(C::side_bytes + 8, std::byte{0xA5})};
  support::call(encode_block_kernel<C>{c, block.data(), block_info{count, amax, element, stream},
                                       wire_block{w.code.data(), w.side.data()}});
  for (int i = 0; i < 8; ++i) REQUIRE(w.code[bytes + std::size_t(i)] == std::byte{0xA5});
  for (int i = 0; i < 8; ++i) REQUIRE(w.side[C::side_bytes + std::size_t(i)] == std::byte{0xA5});
  return w;
}

template <class C>
std::vector<float> decode(C const& c, coded<C> const& w, int count) {
  std::vector<float> y(C::block + 8, -77.0f);
  support::call(decode_block_kernel<C>{c, count, wire_block_view{w.code.data(), w.side.data()}, y.data()});
  y.resize(static_cast<std::size_t>(count));
  return y;
}

inline std::vector<int> lengths(int block) { return {1, 2, 7, 8, 9, 31, 33, block - 1, block}; }

}  // namespace laws
