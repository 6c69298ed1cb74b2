// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/linear_algebra.hpp>

#include <Eigen/Eigenvalues>

#include <algorithm>
#include <limits>

static_assert(EIGEN_VERSION_AT_LEAST(3, 4, 0), "diloco: linear_algebra/eigen.hpp needs Eigen 3.4");

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Tiles of C of up to 192 × 192, as equal as multiples of 8 allow. Two packed factors of 192 × 256 floats
/// then stay in an L2 of 512 KiB. The tiles of a symmetric C save 3/8 of the work at a side of 768.
struct eigen_tiling {
  static constexpr std::size_t side = 192, depth = 256;
  std::size_t extent = 0, count = 1, size = 0;
  explicit eigen_tiling(std::size_t n) : extent(n) {
    if (n == 0) return;
    std::size_t const least = (n + side - 1) / side;
    size = ((n + least - 1) / least + 7) / 8 * 8;
    count = (n + size - 1) / size;
  }
  [[nodiscard]] std::size_t begin(std::size_t i) const { return i * size; }
  [[nodiscard]] std::size_t length(std::size_t i) const { return std::min(size, extent - begin(i)); }
};

/// Fixed block sizes for Eigen, which would otherwise derive them from the cache sizes that it finds. So the
/// order of a sum is the same on all machines of one instruction set.
struct eigen_blocking : Eigen::internal::level3_blocking<float, float> {
  alignas(64) float packed_a[eigen_tiling::side * eigen_tiling::depth];
  alignas(64) float packed_b[eigen_tiling::side * eigen_tiling::depth];
  eigen_blocking() {
    m_mc = m_nc = eigen_tiling::side;
    m_kc = eigen_tiling::depth;
    m_blockA = packed_a;
    m_blockB = packed_b;
  }
};

/// Computes one tile of C. It calls below Eigen's operator*. Under -fopenmp that operator would use all
/// threads inside `cpp` and then sum in another order. It takes 384 KiB of stack.
template <bool TransposedA, bool TransposedB>
void eigen_tile(matrix_product const& m, std::size_t i, std::size_t rows, std::size_t j,
                std::size_t columns) {
  constexpr int order_a = TransposedA ? Eigen::ColMajor : Eigen::RowMajor;
  constexpr int order_b = TransposedB ? Eigen::ColMajor : Eigen::RowMajor;
  float* const c = m.c + i * m.columns + j;
  for (std::size_t r = 0; r < rows; ++r) {
    float* const row = c + r * m.columns;
    if (m.beta == 0.0f)
      std::fill_n(row, columns, 0.0f);
    else if (m.beta != 1.0f)
      for (std::size_t k = 0; k < columns; ++k) row[k] *= m.beta;
  }
  if (m.alpha == 0.0f || m.depth == 0) return;
  eigen_blocking blocking;
  using index = Eigen::Index;
  auto const n = [](std::size_t x) { return static_cast<index>(x); };
  Eigen::internal::general_matrix_matrix_product<
      index, float, order_a, false, float, order_b, false, Eigen::RowMajor,
      1>::run(n(rows), n(columns), n(m.depth), m.a.data + (TransposedA ? i : i * m.depth),
              n(TransposedA ? m.rows : m.depth), m.b.data + (TransposedB ? j * m.depth : j),
              n(TransposedB ? m.depth : m.columns), c, 1, n(m.columns), m.alpha, blocking, nullptr);
}

template <bool TransposedA, bool TransposedB>
struct eigen_product_kernel {
  matrix_product m;
  eigen_tiling rows, columns;
  void operator()(solo, std::size_t tile) const {
    std::size_t const i = tile / columns.count, j = tile % columns.count;
    eigen_tile<TransposedA, TransposedB>(m, rows.begin(i), rows.length(i), columns.begin(j),
                                         columns.length(j));
  }
};

/// Computes a tile on or below the diagonal, and copies it to its mirror image above while it is in cache.
template <bool Transposed>
struct eigen_gram_kernel {
  matrix_product m;
  eigen_tiling side;
  void operator()(solo, std::size_t tile) const {
    std::size_t i = 0;
    while ((i + 1) * (i + 2) / 2 <= tile) ++i;
    std::size_t const j = tile - i * (i + 1) / 2;
    std::size_t const top = side.begin(i), left = side.begin(j), n = m.columns;
    eigen_tile<Transposed, !Transposed>(m, top, side.length(i), left, side.length(j));
    for (std::size_t r = top; r < top + side.length(i); ++r) {
      for (std::size_t k = left; k < std::min(r, left + side.length(j)); ++k) m.c[k * n + r] = m.c[r * n + k];
    }
  }
};

using eigen_matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// `a` times a power of two that brings its largest magnitude into [1, 4). Lengths are squared on the way to
/// q, and no digit of q depends on the scale. Where `a` holds NaN or Inf, q becomes NaN and the result is
/// empty, because Eigen's result may be finite there.
inline Eigen::MatrixXf eigen_scaled(std::size_t n, float const* a, float* q) {
  std::uint32_t most = 0;
  for (std::size_t i = 0; i < n * n; ++i) most = larger(most, magnitude_bits(a[i]));
  if (most >= 0x7f800000u) {
    std::fill_n(q, n * n, std::numeric_limits<float>::quiet_NaN());
    return {};
  }
  auto const side = static_cast<Eigen::Index>(n);
  return Eigen::Map<eigen_matrix const>(a, side, side) * unit_of(most);
}

struct eigen_vectors_kernel {
  std::size_t n;
  float const* s;
  float* q;
  void operator()(solo, std::size_t) const {
    Eigen::MatrixXf const scaled = eigen_scaled(n, s, q);
    if (scaled.size() == 0) return;
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXf> const solver(scaled);
    auto const side = static_cast<Eigen::Index>(n);
    Eigen::Map<eigen_matrix>(q, side, side) = solver.eigenvectors().rowwise().reverse();
  }
};

struct eigen_orthonormal_kernel {
  std::size_t n;
  float const* a;
  float* q;
  void operator()(solo, std::size_t) const {
    Eigen::MatrixXf const scaled = eigen_scaled(n, a, q);
    if (scaled.size() == 0) return;
    auto const side = static_cast<Eigen::Index>(n);
    Eigen::HouseholderQR<Eigen::MatrixXf> const solver(scaled);
    Eigen::Map<eigen_matrix>(q, side, side) = solver.householderQ() * Eigen::MatrixXf::Identity(side, side);
  }
};

}  // namespace detail

/// Linear algebra by Eigen 3.4 in float32. It is optional and not in the umbrella, because it takes seconds
/// to include. The executor's threads compute products tile by tile.
/// The bits of a product are the same for any number of threads. They differ under another instruction set,
/// whose registers Eigen fills differently, so results are not replicated.
/// Eigenvectors and QR are Eigen's own. Under -fopenmp Eigen uses threads for them, which gives other bits,
/// unless EIGEN_DONT_PARALLELIZE is defined.
struct eigen {
  static constexpr std::string_view name = "eigen";

  template <executor E>
  void multiply(E const& where, matrix_product const& m) const {
    need_host<E>();
    if (m.rows == 0 || m.columns == 0) return;
    detail::eigen_tiling const rows(m.rows), columns(m.columns);
    auto const over_tiles = [&](auto const& kernel) { where.for_each(rows.count * columns.count, kernel); };
    if (m.a.transposed && m.b.transposed)
      return over_tiles(detail::eigen_product_kernel<true, true>{m, rows, columns});
    if (m.a.transposed) return over_tiles(detail::eigen_product_kernel<true, false>{m, rows, columns});
    if (m.b.transposed) return over_tiles(detail::eigen_product_kernel<false, true>{m, rows, columns});
    over_tiles(detail::eigen_product_kernel<false, false>{m, rows, columns});
  }

  template <executor E>
  void gram(E const& where, gram_product const& s) const {
    need_host<E>();
    if (s.side == 0) return;
    matrix_product const m{s.side, s.side, s.depth, s.a, {s.a.data, !s.a.transposed}, s.c, s.alpha, s.beta};
    detail::eigen_tiling const side(s.side);
    std::size_t const tiles = side.count * (side.count + 1) / 2;
    if (s.a.transposed) return where.for_each(tiles, detail::eigen_gram_kernel<true>{m, side});
    where.for_each(tiles, detail::eigen_gram_kernel<false>{m, side});
  }

  /// Uses one thread, 9·n³ multiply-adds and 3 n² of Eigen's own memory.
  template <executor E>
  void eigenvectors(E const& where, std::size_t n, float const* s, float* q) const {
    need_host<E>();
    where.for_each(1, detail::eigen_vectors_kernel{n, s, q});
  }
  /// Householder in one thread: 4/3·n³ multiply-adds and 2 n² of memory. A column of length 0 gets some
  /// direction. NaN or Inf makes all of q NaN.
  template <executor E>
  void orthonormalize(E const& where, std::size_t n, float const* a, float* q) const {
    need_host<E>();
    where.for_each(1, detail::eigen_orthonormal_kernel{n, a, q});
  }
  friend bool operator==(eigen const&, eigen const&) = default;

 private:
  template <executor E>
  static constexpr void need_host() {
    static_assert(E::columns_on_host,
                  "diloco: eigen: computes on the host, and this executor's columns lie on a device; use "
                  "linear_algebra/cublas.cuh with it");
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
