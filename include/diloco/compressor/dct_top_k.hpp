// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/top_k.hpp>

namespace diloco {
inline namespace v0 {
namespace detail {

/// A chunk of 4,096 elements as 64 rows of 64, and its orthonormal two-dimensional cosine transform, A·x·Aᵀ. What a shorter
/// last chunk lacks is zero.
struct cosine_domain {
  static constexpr std::string_view prefix = "dct_top_k";
  static constexpr int side = 64, area = side * side;
  static constexpr std::size_t constant_elements = 2 * area;  // A, then Aᵀ
  DILOCO_HD static constexpr std::size_t scratch_bytes(std::size_t chunks) { return chunks * 2 * area * sizeof(float); }
  DILOCO_HD static int size(int) { return area; }

  /// A[u][r] = √(2/64)·cos(π(2r + 1)u/128), and √(1/64) for u = 0: by the recurrence of Chebyshev's polynomials at compile
  /// time, so that no library's cosine is in it.
  struct matrices {
    float v[constant_elements];
  };
  static consteval matrices tabulate() {
    double cosine[257] = {1.0, 0.99969881869620422};  // cos(πm/128)
    for (int m = 2; m <= 256; ++m) cosine[m] = 2 * cosine[1] * cosine[m - 1] - cosine[m - 2];
    matrices a{};
    for (int u = 0; u < side; ++u) {
      for (int r = 0; r < side; ++r) {
        double const scale = u == 0 ? 0.125 : 0.17677669529663689;
        float const entry = static_cast<float>(scale * cosine[(2 * r + 1) * u % 256]);
        a.v[u * side + r] = a.v[area + r * side + u] = entry;
      }
    }
    return a;
  }
  static void write_constants(float* to) {
    static constexpr matrices a = tabulate();
    for (std::size_t i = 0; i < constant_elements; ++i) to[i] = a.v[i];
  }

  /// out = left·right, both 64 × 64, row by row.
  template <lanes L, class Left>
  DILOCO_HD static void multiply(L, Left&& left, float const* DILOCO_RESTRICT right, float* DILOCO_RESTRICT out) {
    constexpr int mine = side / L::width;
    for (int i = 0; i < side; ++i) {
      float sum[mine] = {};
      for (int k = 0; k < side; ++k) {
        float const a = left(i, k);
        for (int v = 0; v < mine; ++v) sum[v] = fma(a, right[k * side + v * L::width + L::rank()], sum[v]);
      }
      for (int v = 0; v < mine; ++v) out[i * side + v * L::width + L::rank()] = sum[v];
    }
  }
  template <lanes L>
  DILOCO_HD static float const* forward(L l, slice const& s, std::size_t j) {
    float* const rows = reinterpret_cast<float*>(s.scratch) + j * 2 * area;
    float* const coefficients = rows + area;
    float const *const x = s.chunk_x(j), *const a = s.constants;
    int const n = s.count(j);
    multiply(
        l, [=](int r, int c) { return r * side + c < n ? x[r * side + c] : 0.0f; }, a + area, rows);
    L::sync();
    multiply(
        l, [=](int u, int r) { return a[u * side + r]; }, rows, coefficients);
    L::sync();
    return coefficients;
  }
  /// y = Aᵀ·kept·A, eight rows at a time in registers, each element summed in the order of the indices.
  template <lanes L, class Index, class Value>
  DILOCO_HD static void back(L, slice_view const& s, int n, int k, Index&& index, Value&& value, float c, float* g) {
    constexpr int mine = side / L::width, together = 8;
    float const* const a = s.constants;
    for (int first = 0; first < side && first * side < n; first += together) {
      float y[together][mine] = {};
      for (int p = 0; p < k; ++p) {
        int const u = index(p) / side, w = index(p) % side;
        float const v = value(p);
        for (int r = 0; r < together; ++r) {
          float const along = product(v, a[u * side + first + r]);
          for (int q = 0; q < mine; ++q) y[r][q] = fma(along, a[w * side + q * L::width + L::rank()], y[r][q]);
        }
      }
      for (int r = 0; r < together; ++r) {
        for (int q = 0; q < mine; ++q) {
          int const i = (first + r) * side + q * L::width + L::rank();
          if (i < n) g[i] = fma(c, y[r][q], g[i]);
        }
      }
    }
  }
};

}  // namespace detail

/// The K largest coefficients of each chunk's discrete cosine transform, 64 × 64 (DeMo, Peng et al. 2024): 14·K/4096 bits per
/// parameter in two bits, 28·K/4096 as binary16; DeMo keeps 32. The same energy as top_k on white noise, more where
/// neighbours are alike. Chunks are 4,096 consecutive elements, so a row of the transform is 64 neighbours in memory. 256
/// multiply-adds per parameter to encode, 2·K for each wire to decode; 8 B/param of scratch.
template <int K, kept_as As = kept_as::f16>
struct dct_top_k : detail::sparse<K, As, 4096, detail::cosine_domain> {};

}  // namespace v0
}  // namespace diloco
