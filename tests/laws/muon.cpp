// SPDX-License-Identifier: Apache-2.0
// Checks how Muon changes the singular values of a gradient on every host executor, and what the result must
// not depend on.
#include "laws/support.hpp"
#include "support/whole_tensor.hpp"

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>

#include <Eigen/QR>

#include <algorithm>

namespace {

using namespace diloco;
using laws::numbers;
using optimizer_type = muon<eigen>;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

static_assert(tensor_optimizer<optimizer_type> && !element_optimizer<optimizer_type> &&
              !replicated<optimizer_type>);
static_assert(linear_algebra<eigen>);

matrix random(std::size_t rows, std::size_t columns, std::uint64_t seed) {
  std::vector<float> const v = numbers(seed).many(rows * columns);
  return Eigen::Map<matrix const>(v.data(), Eigen::Index(rows), Eigen::Index(columns));
}
matrix rotation(std::size_t n, std::uint64_t seed) {
  Eigen::MatrixXd const a = random(n, n, seed).cast<double>();
  return Eigen::MatrixXd(Eigen::HouseholderQR<Eigen::MatrixXd>(a).householderQ()).cast<float>();
}

/// −Δθ / scale of one step from 0 on this gradient. This is X itself.
template <class Executor = cpp>
matrix orthogonalized(matrix const& g, optimizer_type optimizer = {}) {
  optimizer.lr = 1.0f;
  auto const rows = std::size_t(g.rows()), columns = std::size_t(g.cols());
  support::whole_tensor<optimizer_type, Executor> t(rows, columns, std::vector<float>(rows * columns, 0.0f));
  t.step(optimizer, {g.data(), g.data() + g.size()});
  return Eigen::Map<matrix>(t.p.data(), g.rows(), g.cols()) / float(-optimizer.scale(rows, columns));
}
double gap(matrix const& a, matrix const& b) { return double((a - b).cwiseAbs().maxCoeff()); }

/// A matrix G with singular values that fall from 1 by `ratio` each. `out` is what each of them becomes: the
/// diagonal of LᵀXR.
struct spectrum {
  std::vector<double> in, out;
  double outside = 0;  ///< the largest element off the diagonal
};
spectrum of_spectrum(std::size_t rows, std::size_t columns, double ratio, muon_coefficients coefficients) {
  auto const side = std::min(rows, columns);
  matrix const left = rotation(rows, 1), right = rotation(columns, 2);
  matrix s = matrix::Zero(Eigen::Index(rows), Eigen::Index(columns));
  for (std::size_t i = 0; i < side; ++i)
    s(Eigen::Index(i), Eigen::Index(i)) = float(std::pow(ratio, double(i)));
  matrix const g = left * s * right.transpose();
  matrix const x = left.transpose() * orthogonalized(g, {.coefficients = coefficients}) * right;
  spectrum result;
  for (Eigen::Index i = 0; i < Eigen::Index(side); ++i) {
    result.in.push_back(double(s(i, i)) / double(g.norm()));
    result.out.push_back(double(x(i, i)));
  }
  matrix rest = x;
  rest.diagonal().setZero();
  result.outside = double(rest.cwiseAbs().maxCoeff());
  return result;
}

void check_interval(muon_coefficients coefficients, double from, double low, double high) {
  for (auto [rows, columns, ratio] :
       {std::tuple{12, 8, 0.5}, {8, 20, 0.45}, {48, 48, 0.88}, {200, 64, 0.92}, {64, 400, 0.91}}) {
    int const shape = 1000 * rows + columns;
    CAPTURE(shape);
    spectrum const s = of_spectrum(std::size_t(rows), std::size_t(columns), ratio, coefficients);
    std::size_t within = 0;
    for (std::size_t i = 0; i < s.in.size(); ++i) {
      CAPTURE(s.in[i]);
      CAPTURE(s.out[i]);
      if (s.in[i] >= from) {
        ++within;
        CHECK(s.out[i] >= low / 1.01);  // 1 % for rounding
        CHECK(s.out[i] <= high * 1.01);
      }
      CHECK(s.out[i] >= 0);
    }
    CHECK(2 * within >= s.in.size());
    CHECK(s.outside < 2e-4);
  }
}

}  // namespace

TEST_CASE("muon: Keller's polynomial brings singular values into [0.68, 1.2024]") {
  check_interval(muon_coefficients::keller, 0.0015, 0.68, 1.2024);
  // Smaller singular values are amplified, but at most by a⁵.
  spectrum const s = of_spectrum(16, 16, 0.5, muon_coefficients::keller);
  for (std::size_t i = 0; i < s.in.size(); ++i) {
    if (s.in[i] < 0.0003 && s.in[i] > 1e-6) CHECK(s.out[i] / s.in[i] == doctest::Approx(484.9).epsilon(0.05));
  }
  CHECK(s.in.back() < 0.0001);
}

TEST_CASE("muon: dion's five polynomials bring them into [0.978, 1.146]") {
  check_interval(muon_coefficients::dion, 0.01, 0.978, 1.146);
}

TEST_CASE("muon: the transposed gradient gives the transposed step, a rotated one the rotated step") {
  for (auto [rows, columns] : {std::pair<std::size_t, std::size_t>{12, 8}, {30, 30}, {200, 300}}) {
    matrix const g = random(rows, columns, 7), x = orthogonalized(g);
    CHECK(gap(orthogonalized(g.transpose()), x.transpose()) < 1e-4);
    matrix const left = rotation(rows, 8), right = rotation(columns, 9);
    CHECK(gap(orthogonalized(left * g * right), left * x * right) < 1e-3);
    CHECK(gap(orthogonalized(4096.0f * g), x) == 0.0);  // the length of the gradient does not matter
  }
}

TEST_CASE("muon: the same bits on every executor, and for any number of threads") {
  for (auto [rows, columns] : {std::pair<std::size_t, std::size_t>{257, 193}, {193, 600}}) {
    matrix const g = random(rows, columns, 3), expected = orthogonalized(g);
    laws::on_each_executor(
        [&](auto executor) { CHECK(gap(orthogonalized<decltype(executor)>(g), expected) == 0.0); });
  }
}

TEST_CASE("muon: momentum, decay and both scales as printed") {
  optimizer_type const o{.lr = 0.5f, .momentum = 0.75f, .nesterov = false, .weight_decay = 0.5f};
  std::vector<float> const start = numbers(1).many(48), g = numbers(2).many(48);
  support::whole_tensor<optimizer_type> t(8, 6, start);
  t.grad_scale = 0.5f;
  t.step(o, g);
  // From zero, the lerp gives a quarter of half the gradient. Only its direction counts.
  matrix const x = orthogonalized(Eigen::Map<matrix const>(g.data(), 8, 6));
  for (std::size_t i = 0; i < 48; ++i) {
    CHECK(t.slots[0][i] == 0.125f * g[i]);
    double const scale = std::sqrt(8.0 / 6.0);
    CHECK(double(t.p[i]) ==
          doctest::Approx(0.75 * double(start[i]) - 0.5 * scale * double(x.data()[i])).epsilon(1e-5));
  }
  CHECK(optimizer_type{}.scale(8, 2) == 2.0);
  CHECK(optimizer_type{}.scale(2, 8) == 1.0);
  CHECK(optimizer_type{.scaling = muon_scaling::spectral}.scale(2, 8) == 0.5);
  CHECK(optimizer_type{.scaling = muon_scaling::match_rms}.scale(25, 100) == doctest::Approx(2.0));
}

TEST_CASE("muon: zero gradients move nothing, and lr_scale = 0 nothing at all") {
  std::vector<float> const start = numbers(1).many(48);
  support::whole_tensor<optimizer_type> t(8, 6, start);
  t.step({}, std::vector<float>(48, 0.0f));
  CHECK(t.p == start);
  t.step({.weight_decay = 0.5f}, std::vector<float>(48, 0.0f));
  for (std::size_t i = 0; i < 48; ++i) CHECK(t.p[i] == doctest::Approx(0.99 * double(start[i])));

  support::whole_tensor<optimizer_type> still(8, 6, start);
  still.lr_scale = 0.0f;
  for (int i = 0; i < 3; ++i) still.step({.weight_decay = 0.5f}, numbers(2).many(48));
  CHECK(still.p == start);

  support::whole_tensor<optimizer_type> one(1, 1, {1.0f});
  one.step({.lr = 1.0f}, {-3.0f});
  CHECK(one.p[0] > 1.68f);
}

TEST_CASE("muon: what it cannot step, and numbers out of range, it says") {
  std::size_t const vector[] = {8}, empty[] = {0, 8}, matrix_shape[] = {8, 6}, deep[] = {4, 3, 3};
  CHECK(shape_error_of<optimizer_type>(vector) ==
        "needs a matrix; give vectors another optimizer, such as adamw");
  CHECK(shape_error_of<optimizer_type>(std::span<std::size_t const>{}) ==
        shape_error_of<optimizer_type>(vector));
  CHECK(shape_error_of<optimizer_type>(empty) ==
        "needs a matrix with elements; leave a tensor without any out");
  CHECK(shape_error_of<optimizer_type>(matrix_shape).empty());
  CHECK(shape_error_of<optimizer_type>(deep).empty());
  CHECK(field_error("inner", optimizer_type{.momentum = 1.0f}) ==
        "diloco: inner muon: momentum = 1 must be in [0, 1)");
  CHECK(field_error("inner", optimizer_type{.scaling = muon_scaling(3)}) ==
        "diloco: inner muon: scaling = 3 must be in [0, 2]");
  CHECK(field_error("inner", optimizer_type{}).empty());
}
#endif
