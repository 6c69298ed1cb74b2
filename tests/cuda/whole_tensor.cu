// SPDX-License-Identifier: Apache-2.0
// Optimizers over whole tensors on a CUDA stream. Adafactor has the host's bits. Muon over cuBLAS and each
// product are close to their formulas in double.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>
#include <diloco/linear_algebra/cublas.cuh>

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace {

using namespace diloco;

std::vector<float> numbers(std::size_t n, int salt) {
  std::vector<float> v(n);
  for (std::size_t i = 0; i < n; ++i) {
    auto const h = mix64(static_cast<std::uint64_t>(salt) + 1, i + 1);
    v[i] = static_cast<float>(static_cast<std::int32_t>(h >> 32) >> 8) * 0x1p-23f;
  }
  return v;
}

/// Memory of the same kind as the executor's columns.
template <class Executor>
struct column {
  Executor where;
  std::size_t n;
  buffer memory = where.allocate(n * sizeof(float) + 4);
  column(Executor e, std::vector<float> const& v) : where(e), n(v.size()) { put(v); }
  column(Executor e, std::size_t size) : column(e, std::vector<float>(size)) {}
  float* data() const { return memory.as<float>(); }
  void put(std::vector<float> const& v) {
    if constexpr (Executor::columns_on_host)
      std::copy(v.begin(), v.end(), data());
    else
      REQUIRE(cudaMemcpy(data(), v.data(), n * sizeof(float), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  std::vector<float> get() const {
    where.wait();
    std::vector<float> v(n);
    if constexpr (Executor::columns_on_host)
      std::copy(data(), data() + n, v.begin());
    else
      REQUIRE(cudaMemcpy(v.data(), data(), n * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess);
    return v;
  }
};

struct extents {
  std::size_t rows, columns;
};

/// θ after some steps on the same gradients.
template <class O, class Executor>
std::vector<float> trajectory(O const& optimizer, Executor where, extents n, int steps) {
  std::size_t const size = n.rows * n.columns;
  column<Executor> p(where, numbers(size, 1)), g(where, size), slot(where, size),
      scale(where, std::vector<float>{0.5f}), memory(where, memory_elements_of<O>(n.rows, n.columns)),
      scratch(where, O::scratch_elements(n.rows, n.columns));
  for (int i = 0; i < steps; ++i) {
    g.put(numbers(size, 10 + i));
    tensor_step<O::slots.size()> t{n.rows, n.columns, p.data(), g.data(), scale.data()};
    if constexpr (O::slots.size() != 0) t.slots[0] = slot.data();
    t.memory = memory.data();
    t.scratch = scratch.data();
    t.context.step = static_cast<std::uint64_t>(i) + 1;
    t.first = i == 0;
    optimizer.step(where, t);
    where.wait();
  }
  return p.get();
}

/// Owns a handle and releases it.
struct library {
  cublas algebra;
  library() { REQUIRE(cublasCreate(&algebra.handle) == CUBLAS_STATUS_SUCCESS); }
  ~library() { cublasDestroy(algebra.handle); }
  library(library const&) = delete;
  library& operator=(library const&) = delete;
};

double element(float const* m, bool transposed, extents n, std::size_t i, std::size_t j) {
  return double(transposed ? m[j * n.rows + i] : m[i * n.columns + j]);
}

}  // namespace

TEST_CASE("cuda: adafactor has the host's bits") {
  for (extents n : {extents{1, 1}, {5000, 1}, {31, 1025}, {65, 2049}, {200, 7}}) {
    CAPTURE(n.rows);
    adafactor const o{.lr = 0.1f, .eps1 = 0.02f, .d = 0.5f, .weight_decay = 0.1f};
    CHECK(trajectory(o, cuda_stream{}, n, 5) == trajectory(o, cpp{}, n, 5));
  }
}

TEST_CASE("cuda: products by cuBLAS, all four ways to transpose") {
  library const with;
  cuda_stream const where;
  std::size_t const rows = 5, columns = 70, depth = 33;
  auto const a = numbers(rows * depth, 1), b = numbers(depth * columns, 2),
             before = numbers(rows * columns, 3);
  column<cuda_stream> const on_a(where, a), on_b(where, b);
  for (int way = 0; way < 4; ++way) {
    CAPTURE(way);
    bool const ta = way % 2 == 1, tb = way / 2 == 1;
    column<cuda_stream> c(where, before);
    with.algebra.multiply(
        where, {rows, columns, depth, {on_a.data(), ta}, {on_b.data(), tb}, c.data(), 0.5f, -2.0f});
    auto const got = c.get();
    double worst = 0;
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) {
        double sum = 0;
        for (std::size_t k = 0; k < depth; ++k)
          sum += element(a.data(), ta, {rows, depth}, i, k) * element(b.data(), tb, {depth, columns}, k, j);
        double const want = 0.5 * sum - 2.0 * double(before[i * columns + j]);
        worst = std::max(worst, std::fabs(double(got[i * columns + j]) - want));
      }
    }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("cuda: muon brings a gradient of known singular values to the polynomial's") {
  // σ·I of size n: σ/‖G‖ is 1/√n for any σ, and X stays a multiple of I.
  library const with;
  for (extents n : {extents{16, 16}, {16, 40}, {40, 16}}) {
    CAPTURE(n.columns);
    std::size_t const size = n.rows * n.columns, side = n.rows < n.columns ? n.rows : n.columns;
    std::vector<float> start(size);
    for (std::size_t i = 0; i < side; ++i) start[i * n.columns + i] = 3.0f;
    cuda_stream const where;
    muon<cublas> const o{.lr = 1.0f, .algebra = with.algebra};
    column<cuda_stream> p(where, size), g(where, start), m(where, size),
        scale(where, std::vector<float>{1.0f}),
        scratch(where, muon<cublas>::scratch_elements(n.rows, n.columns));
    tensor_step<1> t{n.rows, n.columns, p.data(), g.data(), scale.data(), {m.data()}};
    t.scratch = scratch.data();
    o.step(where, t);
    double x = 1 / std::sqrt(double(side));
    for (int i = 0; i < 5; ++i) x = x * (3.4445 + x * x * (-4.7750 + x * x * 2.0315));
    auto const got = p.get();
    double worst = 0;
    for (std::size_t i = 0; i < size; ++i) {
      double const want = i / n.columns == i % n.columns ? -x * o.scale(n.rows, n.columns) : 0.0;
      worst = std::max(worst, std::fabs(double(got[i]) - want));
    }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("cuda: cuBLAS without a handle says so") {
  column<cuda_stream> const c(cuda_stream{}, 1);
  std::string message;
  try {
    cublas{}.multiply(cuda_stream{}, {1, 1, 1, {c.data()}, {c.data()}, c.data()});
  } catch (exception const& e) {
    message = e.what();
  }
  CHECK(message.starts_with("diloco: cublas: cublasSetStream failed: "));
  CHECK(message.ends_with("; give .handle one from cublasCreate"));
}
