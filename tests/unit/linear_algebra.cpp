// SPDX-License-Identifier: Apache-2.0
// Compares products of an algebra with three loops in double: all four transpositions, and sides near the
// sizes of tiles and blocks.
#include "laws/support.hpp"

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>

#include <algorithm>

namespace {

using namespace diloco;
using laws::numbers;

float element(operand const& m, std::size_t rows, std::size_t columns, std::size_t i, std::size_t j) {
  return m.transposed ? m.data[j * rows + i] : m.data[i * columns + j];
}

/// Largest error of a product, as a share of the largest element.
double error_of(matrix_product const& m, std::vector<float> const& before) {
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < m.rows; ++i) {
    for (std::size_t j = 0; j < m.columns; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < m.depth; ++k)
        sum += double(element(m.a, m.rows, m.depth, i, k)) * double(element(m.b, m.depth, m.columns, k, j));
      double const old = double(before[i * m.columns + j]);
      double const want = double(m.alpha) * sum + (m.beta == 0 ? 0.0 : double(m.beta) * old);
      float const got = m.c[i * m.columns + j];
      if (!std::isfinite(got)) return HUGE_VAL;
      worst = std::max(worst, std::fabs(double(got) - want));
      largest = std::max(largest, std::fabs(want));
    }
  }
  return worst / largest;
}

struct extents {
  std::size_t rows, columns, depth;
};
constexpr extents cases[] = {{1, 1, 1},     {3, 5, 2},       {8, 192, 256},
                             {193, 7, 257}, {200, 385, 300}, {5, 400, 600}};

}  // namespace

TEST_CASE("eigen: products of all shapes and transpositions, on every executor") {
  for (extents const& n : cases) {
    std::vector<float> const a = numbers(1).many(n.rows * n.depth), b = numbers(2).many(n.depth * n.columns);
    std::vector<float> const before = numbers(3).many(n.rows * n.columns);
    for (int way = 0; way < 4; ++way) {
      CAPTURE(n.rows);
      CAPTURE(n.columns);
      CAPTURE(way);
      std::vector<float> expected = before;
      matrix_product m{
          n.rows,          n.columns, n.depth, {a.data(), way % 2 == 1}, {b.data(), way / 2 == 1},
          expected.data(), 0.5f,      -2.0f};
      eigen{}.multiply(cpp{}, m);
      CHECK(error_of(m, before) < 1e-6);
      laws::on_each_executor([&](auto executor) {
        std::vector<float> c = before;
        m.c = c.data();
        eigen{}.multiply(executor, m);
        CHECK(c == expected);
      });
    }
  }
}

TEST_CASE("eigen: what is only written is not read, and what is only scaled needs no factor") {
  std::vector<float> const a = numbers(1).many(12), nan(9, std::nanf(""));
  std::vector<float> c = nan;
  matrix_product m{3, 3, 4, {a.data()}, {a.data(), true}, c.data()};
  eigen{}.multiply(cpp{}, m);
  CHECK(error_of(m, nan) < 1e-6);
  std::vector<float> const before = c;
  m.a.data = m.b.data = nullptr;
  m.alpha = 0.0f;
  m.beta = 1.0f;
  eigen{}.multiply(cpp{}, m);
  CHECK(c == before);
  m.depth = 0;
  m.alpha = 1.0f;
  m.beta = 0.0f;
  eigen{}.multiply(cpp{}, m);
  CHECK(c == std::vector<float>(9, 0.0f));
  eigen{}.multiply(cpp{}, {0, 3, 4, {}, {}, nullptr});
  eigen{}.gram(cpp{}, {0, 4, {}, nullptr});
}

TEST_CASE("eigen: a Gram matrix is the product with its own transpose, and symmetric to the bit") {
  for (auto const& n : {extents{1, 0, 1}, {5, 0, 3}, {192, 0, 10}, {193, 0, 300}, {500, 0, 40}}) {
    for (bool transposed : {false, true}) {
      CAPTURE(n.rows);
      CAPTURE(transposed);
      std::vector<float> const a = numbers(1).many(n.rows * n.depth);
      std::vector<float> before = numbers(3).many(n.rows * n.rows);
      for (std::size_t i = 0; i < n.rows; ++i) {
        for (std::size_t j = 0; j < i; ++j) before[j * n.rows + i] = before[i * n.rows + j];
      }
      laws::on_each_executor([&](auto executor) {
        std::vector<float> c = before;
        eigen{}.gram(executor, {n.rows, n.depth, {a.data(), transposed}, c.data(), 0.25f, 3.0f});
        CHECK(error_of({n.rows,
                        n.rows,
                        n.depth,
                        {a.data(), transposed},
                        {a.data(), !transposed},
                        c.data(),
                        0.25f,
                        3.0f},
                       before) < 1e-6);
        bool symmetric = true;
        for (std::size_t i = 0; i < n.rows; ++i) {
          for (std::size_t j = 0; j < i; ++j) symmetric = symmetric && c[j * n.rows + i] == c[i * n.rows + j];
        }
        CHECK(symmetric);
      });
    }
  }
}

TEST_CASE("eigen: an orthonormal basis does not hang on how long the columns are") {
  std::size_t const n = 12;
  std::vector<float> const a = numbers(4).many(n * n);
  std::vector<float> plain(n * n);
  eigen{}.orthonormalize(cpp{}, n, a.data(), plain.data());
  for (float factor : {0x1p90f, 0x1p-90f}) {
    std::vector<float> scaled = a, q(n * n);
    for (float& x : scaled) x *= factor;
    eigen{}.orthonormalize(cpp{}, n, scaled.data(), q.data());
    CHECK(q == plain);
  }
}
#endif
