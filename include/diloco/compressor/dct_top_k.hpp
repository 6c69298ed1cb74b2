// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/top_k.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The orthonormal two-dimensional cosine transform A·x·Aᵀ of a chunk of 4,096 elements, seen as 64 rows of
/// 64. A shorter last chunk is padded with zeros.
struct cosine_domain {
  static constexpr std::string_view prefix = "dct_top_k";
  static constexpr float gain = 65.0f;  // 64 and a margin for rounding
  static constexpr float spread = 64.0f;
  static constexpr int side = 64, area = side * side;
  static constexpr std::size_t constant_elements = 2 * area;  // A, then Aᵀ
  DILOCO_HD static constexpr std::size_t scratch_bytes(std::size_t chunks) {
    return chunks * 2 * area * sizeof(float);
  }
  DILOCO_HD static int size(int) { return area; }

  /// A[u][r] = √(2/64)·cos(π(2r + 1)u/128), and √(1/64) for u = 0. The recurrence of Chebyshev's polynomials
  /// computes it at compile time, so the result depends on no library's cosine.
  struct matrices {
    float v[constant_elements];
  };
  template <class>
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
  /// A table of 8,192 numbers takes 0.08 s to compile. It depends on `Needed`, so only programs that send
  /// these codes pay.
  template <class Needed = void>
  static void write_constants(float* to) {
    static constexpr matrices a = tabulate<Needed>();
    for (std::size_t i = 0; i < constant_elements; ++i) to[i] = a.v[i];
  }

  /// sum[e] ← sum[e] + Σ factor[q]·row[q][e] over this lane's elements of a row, in the order of q. One pass
  /// adds eight terms. An array of sums over all terms stays in memory and costs a load and a store each (24
  /// → 2.3 ns per element).
  static constexpr int terms = 8;
  template <lanes L>
  DILOCO_HD static void add_rows(L, float const (&factor)[terms], float const* const (&row)[terms],
                                 float* DILOCO_RESTRICT sum) {
    for (int v = 0; v < side / L::width; ++v) {
      int const e = v * L::width + L::rank();
      float s = sum[e];
      for (int q = 0; q < terms; ++q) s = fma(factor[q], row[q][e], s);
      sum[e] = s;
    }
  }
  /// out = left·right, both 64 × 64.
  template <lanes L>
  DILOCO_HD static void multiply(L l, float const* DILOCO_RESTRICT left, float const* DILOCO_RESTRICT right,
                                 float* DILOCO_RESTRICT out) {
    for (int i = 0; i < side; ++i) {
      for (int e = L::rank(); e < side; e += L::width) out[i * side + e] = 0.0f;
      for (int k = 0; k < side; k += terms) {
        float factor[terms];
        float const* row[terms];
        for (int q = 0; q < terms; ++q) {
          factor[q] = left[i * side + k + q];
          row[q] = right + (k + q) * side;
        }
        add_rows(l, factor, row, out + i * side);
      }
    }
  }
  template <lanes L>
  DILOCO_HD static float const* forward(L l, slice const& s, std::size_t j) {
    float* const rows = reinterpret_cast<float*>(s.scratch) + j * 2 * area;
    float *const coefficients = rows + area, *padded = coefficients;
    float const *x = s.chunk_x(j), *const a = s.constants;
    int const n = s.count(j);
    if (n < area) {
      for (int i = L::rank(); i < area; i += L::width) padded[i] = i < n ? x[i] : 0.0f;
      x = padded;
      L::sync();
    }
    multiply(l, x, a + area, rows);
    L::sync();
    multiply(l, a, rows, coefficients);
    L::sync();
    return coefficients;
  }
  /// y = Aᵀ·kept·A, computed row by row. Each element is summed in the order of the indices.
  template <int K, lanes L, class Index, class Value>
  DILOCO_HD static void back(L, slice_view const& s, int n, int k, Index&& index, Value&& value, float c,
                             float* g) {
    float const* const a = s.constants;
    // A single thread reads the message once, not once for each row. Several lanes have no memory of their
    // own to keep it in. An incomplete pass is filled up with 0 times the first row.
    constexpr bool keeps = L::width == 1;
    constexpr int kept = (K + terms - 1) / terms * terms;
    unsigned columns[keeps ? kept : 1] = {}, rows[keeps ? kept : 1] = {};
    float values[keeps ? kept : 1] = {};
    if constexpr (keeps) {
      for (int p = 0; p < k; ++p) {
        auto const i = static_cast<unsigned>(index(p));
        columns[p] = i / side * side;
        rows[p] = i % side * side;
        values[p] = value(p);
      }
    }
    for (int r = 0; r < side && r * side < n; ++r) {
      lane_block<L, side> y = {};
      for (int first = 0; first < k; first += terms) {
        float factor[terms];
        float const* row[terms];
        for (int q = 0; q < terms; ++q) {
          if constexpr (keeps) {
            factor[q] = product(values[first + q], a[columns[first + q] + static_cast<unsigned>(r)]);
            row[q] = a + rows[first + q];
          } else {
            bool const there = first + q < k;
            int const p = there ? first + q : 0, i = index(p);
            factor[q] = there ? product(value(p), a[i / side * side + r]) : 0.0f;
            row[q] = a + i % side * side;
          }
        }
        for (int v = 0; v < y.size; ++v) {
          for (int q = 0; q < terms; ++q) y.v[v] = fma(factor[q], row[q][v * L::width + L::rank()], y.v[v]);
        }
      }
      // A masked store in every row costs 13.3 instead of 9.5 ns per element at K = 8.
      auto const add = [&](int end) {
        for (int v = 0; v < y.size; ++v) {
          int const i = v * L::width + L::rank();
          if (i < end) g[r * side + i] = fma(c, y.v[v], g[r * side + i]);
        }
      };
      if (n - r * side >= side)
        add(side);
      else
        add(n - r * side);
    }
  }
};

}  // namespace detail

/// The K largest coefficients of each chunk's 64 × 64 discrete cosine transform (DeMo, Peng et al. 2024,
/// which keeps 32). They take 14·K/4096 bits per parameter in two bits and 28·K/4096 as binary16.
/// It keeps the same energy as top_k on white noise, and more where neighbours are alike. A chunk is 4,096
/// consecutive elements, so a row of the transform is 64 neighbours in memory.
/// Encoding costs 256 multiply-adds per parameter, decoding 2·K for each message. Scratch takes 8 B/param.
template <int K, kept_as As = kept_as::f16>
struct dct_top_k : detail::sparse<K, As, 4096, detail::cosine_domain> {};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
