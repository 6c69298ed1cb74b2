// SPDX-License-Identifier: Apache-2.0
// SOAP against its formulas in double, with both bases, one and none. Also the properties that its bases must
// have.
#define EIGEN_DONT_PARALLELIZE  // under OpenMP its QR would use its own threads and give other bits
#include "laws/support.hpp"
#include "support/whole_tensor.hpp"

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>

namespace {

using namespace diloco;
using laws::numbers;
using optimizer_type = soap<eigen>;
using matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using exact_matrix = Eigen::MatrixXd;

static_assert(tensor_optimizer<optimizer_type> && !element_optimizer<optimizer_type> &&
              !replicated<optimizer_type>);
static_assert(spectral_algebra<eigen>);

/// Whole matrices in the order of the reference implementation.
struct reference {
  optimizer_type o;
  exact_matrix p;
  bool sides[2];
  exact_matrix s[2] = {}, q[2] = {}, m = exact_matrix::Zero(p.rows(), p.cols()), v = m;

  exact_matrix turn(exact_matrix x) const {
    if (sides[0]) x = q[0].transpose() * x;
    if (sides[1]) x = x * q[1];
    return x;
  }
  exact_matrix back(exact_matrix x) const {
    if (sides[0]) x = q[0] * x;
    if (sides[1]) x = x * q[1].transpose();
    return x;
  }
  void average(exact_matrix const& g, double keep) {
    double const w = 1 - double(o.beta2);
    if (sides[0])
      s[0] = (keep == 0 ? w * g * g.transpose() : exact_matrix(keep * s[0] + w * g * g.transpose()));
    if (sides[1])
      s[1] = (keep == 0 ? w * g.transpose() * g : exact_matrix(keep * s[1] + w * g.transpose() * g));
  }
  void step(int t, exact_matrix const& g) {
    if (t == 1) {
      average(g, 0);
      for (int i = 0; i < 2; ++i) {
        if (sides[i])
          q[i] = Eigen::SelfAdjointEigenSolver<exact_matrix>(s[i]).eigenvectors().rowwise().reverse();
      }
    } else {
      double const b1 = double(o.beta1), b2 = double(o.beta2), lr = double(o.lr);
      exact_matrix const turned = turn(g);
      m = b1 * m + (1 - b1) * turned;
      v = b2 * v + (1 - b2) * turned.cwiseAbs2();
      double const rate = lr * std::sqrt(1 - std::pow(b2, t - 1)) / (1 - std::pow(b1, t - 1));
      p -= rate * back(m.array() / (v.array().sqrt() + double(o.eps)));
      p -= lr * double(o.weight_decay) * p;
      average(g, b2);
      if ((t - 1) % int(o.frequency) == 0) refresh();
    }
  }
  void refresh() {
    exact_matrix const plain = back(m);
    for (int i = 0; i < 2; ++i) {
      if (!sides[i]) continue;
      exact_matrix const sq = s[i] * q[i];
      Eigen::VectorXd const estimate = (q[i].array() * sq.array()).colwise().sum();
      std::vector<Eigen::Index> order(std::size_t(estimate.size()));
      for (std::size_t k = 0; k < order.size(); ++k) order[k] = Eigen::Index(k);
      std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return estimate[a] > estimate[b]; });
      exact_matrix sorted = sq, moved = v;
      for (Eigen::Index k = 0; k < estimate.size(); ++k) {
        sorted.col(k) = sq.col(order[std::size_t(k)]);
        if (i == 0) moved.row(k) = v.row(order[std::size_t(k)]);
        if (i == 1) moved.col(k) = v.col(order[std::size_t(k)]);
      }
      v = moved;
      q[i] = Eigen::HouseholderQR<exact_matrix>(sorted).householderQ() *
             exact_matrix::Identity(sorted.rows(), sorted.cols());
    }
    m = turn(plain);
  }
};

struct extents {
  std::size_t rows, columns;
};
constexpr int steps = 10;

/// Each gradient has its own long and short directions, so that the order of the estimates changes.
std::vector<float> gradient_of(extents n, int t) {
  std::vector<float> g = numbers(std::uint64_t(30 + t)).many(n.rows * n.columns);
  for (std::size_t i = 0; i < g.size(); ++i) {
    g[i] *= 1.0f + float((i / n.columns + std::size_t(t)) % 5) +
            2.0f * float((i % n.columns + 2 * std::size_t(t)) % 3);
  }
  return g;
}
exact_matrix exact(std::vector<float> const& v, extents n) {
  return Eigen::Map<matrix const>(v.data(), Eigen::Index(n.rows), Eigen::Index(n.columns)).cast<double>();
}

template <class Executor = cpp>
support::whole_tensor<optimizer_type, Executor> after(optimizer_type const& o, extents n, int count = steps,
                                                      float lr_scale = 1.0f) {
  support::whole_tensor<optimizer_type, Executor> t(n.rows, n.columns, numbers(1).many(n.rows * n.columns));
  t.lr_scale = lr_scale;
  t.grad_scale = 0.5f;
  for (int i = 0; i < count; ++i) t.step(o, gradient_of(n, i));
  return t;
}

optimizer_type const settings{
    .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.8f, .weight_decay = 0.1f, .frequency = 3};

}  // namespace

// Not 7 × 5: its first gradient leaves two directions of the left side free, and each eigensolver chooses its
// own.
TEST_CASE("soap: equals its formulas in double; sides beyond 10,000 and vectors stay as they are") {
  for (extents const& n : {extents{6, 6}, {17, 17}, {1, 1}, {10001, 2}, {2, 10001}, {40, 1}, {12000, 1}}) {
    CAPTURE(n.rows);
    CAPTURE(n.columns);
    bool const turns = n.columns > 1;
    reference want{settings,
                   exact(numbers(1).many(n.rows * n.columns), n),
                   {turns && n.rows < 10001, turns && n.columns < 10001}};
    for (int t = 0; t < steps; ++t) want.step(t + 1, 0.5 * exact(gradient_of(n, t), n));
    auto const got = after(settings, n);
    CHECK((exact(got.p, n) - want.p).cwiseAbs().maxCoeff() < 2e-5);
    CHECK((exact(got.slots[1], n) - want.v).cwiseAbs().maxCoeff() < 1e-4 * want.v.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("soap: the first step moves nothing and finds the axes") {
  extents const n{20, 20};
  auto const t = after(settings, n, 1);
  CHECK(t.p == numbers(1).many(400));
  exact_matrix const g = 0.5 * exact(gradient_of(n, 0), n), left = 0.2 * g * g.transpose(),
                     right = 0.2 * g.transpose() * g;
  // Memory holds two matrices of each side. Each begins at a cache line.
  auto const at = [&](std::size_t i) {
    return exact({t.memory.begin() + long(400 * i), t.memory.begin() + long(400 * (i + 1))}, n);
  };
  REQUIRE(t.memory.size() == 1600);
  for (int side = 0; side < 2; ++side) {
    exact_matrix const s = at(2 * std::size_t(side)), q = at(2 * std::size_t(side) + 1);
    CHECK((s - (side == 0 ? left : right)).cwiseAbs().maxCoeff() < 1e-5 * left.cwiseAbs().maxCoeff());
    CHECK((q.transpose() * q - exact_matrix::Identity(20, 20)).cwiseAbs().maxCoeff() < 1e-5);
    exact_matrix const turned = q.transpose() * s * q;
    for (int i = 0; i + 1 < 20; ++i) CHECK(turned(i, i) > turned(i + 1, i + 1));
    CHECK((turned - exact_matrix(turned.diagonal().asDiagonal())).cwiseAbs().maxCoeff() <
          1e-5 * turned(0, 0));
  }
}

TEST_CASE("soap: rotated gradients give rotated steps") {
  extents const n{9, 9};
  exact_matrix const rotation =
      Eigen::HouseholderQR<exact_matrix>(exact(numbers(5).many(81), n)).householderQ();
  support::whole_tensor<optimizer_type> straight(9, 9, std::vector<float>(81)), turned = straight;
  optimizer_type o = settings;
  o.weight_decay = 0.0f;
  for (int t = 0; t < steps; ++t) {
    matrix const g = (rotation * exact(gradient_of(n, t), n)).cast<float>();
    straight.step(o, gradient_of(n, t));
    turned.step(o, {g.data(), g.data() + 81});
  }
  CHECK((rotation * exact(straight.p, n) - exact(turned.p, n)).cwiseAbs().maxCoeff() < 2e-5);
  CHECK(exact(straight.p, n).cwiseAbs().maxCoeff() > 0.01);
}

TEST_CASE("soap: the same bits on every executor; lr_scale = 0 is the identity; zero gradients only decay") {
  for (extents const& n : {extents{6, 6}, {200, 210}, {5000, 1}}) {
    auto const expected = after(settings, n, 5);
    laws::on_each_executor([&](auto executor) {
      auto const got = after<decltype(executor)>(settings, n, 5);
      CHECK(got.p == expected.p);
      CHECK(got.memory == expected.memory);
    });
    CHECK(after(settings, n, 5, 0.0f).p == numbers(1).many(n.rows * n.columns));
    support::whole_tensor<optimizer_type> t(n.rows, n.columns, numbers(1).many(n.rows * n.columns));
    std::vector<float> const start = t.p;
    for (int i = 0; i < 5; ++i) t.step(settings, std::vector<float>(start.size(), 0.0f));
    double const keep = std::pow(1 - 0.01 * 0.1, 4);
    for (std::size_t i = 0; i < start.size(); i += 97)
      CHECK(double(t.p[i]) == doctest::Approx(keep * double(start[i])));
  }
}

TEST_CASE("soap: numbers out of range are said") {
  optimizer_type o;
  CHECK(field_error("inner", o).empty());
  o.frequency = 0;
  CHECK(field_error("inner", o) == "diloco: inner soap: frequency = 0 must be in [1, 1000000]");
}
#endif
