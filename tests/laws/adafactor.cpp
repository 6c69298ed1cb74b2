// SPDX-License-Identifier: Apache-2.0
// Adafactor on tensors of many tiles against its formula in double, over every host executor.
#include "laws/support.hpp"
#include "support/whole_tensor.hpp"

#include <algorithm>

namespace {

using namespace diloco;
using laws::numbers;

static_assert(tensor_optimizer<adafactor> && !element_optimizer<adafactor> && !replicated<adafactor>);

/// PyTorch's formula, applied to whole tensors.
struct reference {
  adafactor o;
  std::size_t rows, columns;
  std::vector<double> p, row = std::vector<double>(rows), column = std::vector<double>(columns), v = {};

  void step(long t, std::vector<float> const& grad, double scale) {
    double const weight = std::pow(double(t), double(o.beta2_decay)), eps1 = double(o.eps1);
    std::size_t const n = rows * columns;
    std::vector<double> g(n), row_sum(rows), column_sum(columns);
    v.resize(n);
    double p_sum = 0, u_sum = 0, row_mean = 0;
    for (std::size_t i = 0; i < n; ++i) {
      g[i] = double(grad[i]) * scale;
      row_sum[i / columns] += g[i] * g[i];
      column_sum[i % columns] += g[i] * g[i];
      p_sum += p[i] * p[i];
    }
    for (std::size_t i = 0; i < rows; ++i) {
      row[i] += weight * (row_sum[i] / double(columns) - row[i]);
      row_mean += row[i] / double(rows);
    }
    for (std::size_t j = 0; j < columns; ++j)
      column[j] += weight * (column_sum[j] / double(rows) - column[j]);
    for (std::size_t i = 0; i < n; ++i) {
      if (rows > 1 && columns > 1)
        v[i] = row[i / columns] * column[i % columns] / std::max(row_mean, eps1);
      else
        v[i] += weight * (g[i] * g[i] - v[i]);
      g[i] /= std::sqrt(std::max(v[i], eps1 * eps1));
      u_sum += g[i] * g[i];
    }
    double const alpha = std::max(double(o.eps2), std::sqrt(p_sum / double(n))) *
                         std::min(double(o.lr), 1 / std::sqrt(double(t)));
    double const clip = std::max(1.0, std::sqrt(u_sum / double(n)) / double(o.d));
    for (std::size_t i = 0; i < n; ++i)
      p[i] = (1 - double(o.lr) * double(o.weight_decay)) * p[i] - alpha / clip * g[i];
  }
};

struct extents {
  std::size_t rows, columns;
};
constexpr extents shapes[] = {{1, 1}, {1, 5000}, {5000, 1}, {2, 3}, {31, 1025}, {65, 2049}, {200, 7}};
constexpr int steps = 6;
constexpr float grad_scale = 0.5f;

/// One row in five has a gradient near zero. So eps1 = 0.3 matters twice: for that row's √V, and for the mean
/// of the rows, 0.2.
std::vector<float> gradient_of(extents n, int t) {
  std::vector<float> g = numbers(std::uint64_t(20 + t)).many(n.rows * n.columns);
  for (std::size_t i = 0; i < g.size(); ++i) {
    if (i / n.columns % 5 == 1 && n.rows > 1) g[i] *= 1e-4f;
  }
  return g;
}

template <class Executor>
std::vector<float> trajectory(adafactor const& optimizer, extents n, float lr_scale = 1.0f) {
  support::whole_tensor<adafactor, Executor> t(n.rows, n.columns, numbers(1).many(n.rows * n.columns));
  t.grad_scale = grad_scale;
  t.lr_scale = lr_scale;
  for (int i = 0; i < steps; ++i) t.step(optimizer, gradient_of(n, i));
  return t.p;
}

}  // namespace

TEST_CASE("adafactor: equals its formula in double, with the same bits on every executor") {
  for (adafactor const& optimizer :
       {adafactor{},
        adafactor{
            .lr = 0.6f, .beta2_decay = -0.5f, .eps1 = 0.3f, .eps2 = 0.7f, .d = 0.5f, .weight_decay = 0.1f}}) {
    for (extents const& n : shapes) {
      CAPTURE(n.rows);
      CAPTURE(n.columns);
      std::vector<float> const start = numbers(1).many(n.rows * n.columns);
      reference exact{optimizer, n.rows, n.columns, {start.begin(), start.end()}};
      for (int t = 0; t < steps; ++t) exact.step(t + 1, gradient_of(n, t), double(grad_scale));
      std::vector<float> const p = trajectory<cpp>(optimizer, n);
      double worst = 0;
      for (std::size_t i = 0; i < p.size(); ++i)
        worst = std::max(worst, std::fabs(double(p[i]) - exact.p[i]));
      CHECK(worst < 4e-6);
      laws::on_each_executor(
          [&](auto executor) { CHECK(trajectory<decltype(executor)>(optimizer, n) == p); });
    }
  }
}

TEST_CASE("adafactor: what it keeps is a row and a column of a matrix, and all of a vector") {
  CHECK(memory_elements_of<adafactor>(768, 3072) == 768 + 3072);
  CHECK(memory_elements_of<adafactor>(768, 1) == 768);
  CHECK(memory_elements_of<adafactor>(1, 768) == 768);
  CHECK(adafactor::scratch_elements(768, 3072) < 768 * 3072 / 25);
  CHECK(memory_elements_of<adafactor>(0, 5) + adafactor::scratch_elements(0, 5) < 64);
  support::whole_tensor<adafactor> none(0, 5, {});
  none.step({}, {});
}

TEST_CASE("adafactor: lr_scale = 0 is the identity, and zero gradients move nothing") {
  for (extents const& n : shapes) {
    CHECK(trajectory<cpp>({.weight_decay = 0.1f}, n, 0.0f) == numbers(1).many(n.rows * n.columns));
    std::vector<float> const start = numbers(1).many(n.rows * n.columns);
    support::whole_tensor<adafactor> t(n.rows, n.columns, start);
    for (int i = 0; i < 3; ++i) t.step({}, std::vector<float>(start.size(), 0.0f));
    CHECK(t.p == start);
  }
}

TEST_CASE("adafactor: numbers out of range are said") {
  CHECK(field_error("inner", adafactor{.beta2_decay = 0.8f}) ==
        "diloco: inner adafactor: beta2_decay = 0.8 must be in [-1, 0]");
  CHECK(field_error("inner", adafactor{.eps1 = 0.0f}) ==
        "diloco: inner adafactor: eps1 = 0 must be in [1e-18, 1]");
  CHECK(field_error("inner", adafactor{}).empty());
}
