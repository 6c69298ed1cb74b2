// SPDX-License-Identifier: Apache-2.0
// Muon's step of one matrix, alternating with its matrix products alone. %products is an upper bound for the
// cost of everything else.
// GF/s counts a multiply-add as two and a symmetric product as a full one, so it may exceed the machine's
// peak.
#include <benchmark/benchmark.h>
#include <diloco/diloco.hpp>
#include <diloco/linear_algebra/eigen.hpp>
#include <diloco/optimizer/muon.hpp>
#if defined(_OPENMP)
#include <diloco/executor/omp.hpp>
#endif

#include <algorithm>
#include <chrono>

namespace {

using namespace diloco;

double seconds_of(auto&& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double>& v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

struct matrix {
  std::size_t rows, columns, elements = rows * columns;
  std::vector<float> p = std::vector<float>(elements), g = p, m = p;
  buffer scratch = cpp{}.allocate(muon<eigen>::scratch_elements(rows, columns) * sizeof(float));
  float one = 1.0f;
  matrix(std::size_t r, std::size_t c) : rows(r), columns(c) {
    for (std::size_t i = 0; i < elements; ++i) g[i] = static_cast<float>(mix64(i, 1) % 1001u) - 500.0f;
  }
  tensor_step<1> step() {
    return {rows, columns, p.data(), g.data(), &one, {m.data()}, nullptr, scratch.as<float>(), {}};
  }
};

/// The products of one step, on the numbers that a previous step left.
template <class Executor>
void products(Executor const& where, tensor_step<1> const& t) {
  detail::muon_scratch const at(t.rows, t.columns);
  std::size_t const side = std::min(t.rows, t.columns), depth = std::max(t.rows, t.columns);
  float *const a = t.scratch + at.a, *const b = t.scratch + at.b, *const x = t.scratch + at.x;
  bool const tall = t.rows > t.columns;
  for (int i = 0; i < 5; ++i) {
    eigen{}.gram(where, {side, depth, {x, tall}, a, 1e-3f});
    eigen{}.gram(where, {side, side, {a}, b, 1e-3f});
    eigen{}.multiply(where,
                     {t.rows, t.columns, side, {tall ? x : b}, {tall ? b : x}, t.scratch + at.other, 1e-3f});
  }
}

template <class Executor>
void step(benchmark::State& state) {
  matrix m(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)));
  Executor const where;
  muon<eigen> const optimizer{.weight_decay = 0.1f};
  optimizer.step(where, m.step());
  std::vector<double> ratios, rates;
  double const side = static_cast<double>(std::min(m.rows, m.columns));
  double const depth = static_cast<double>(std::max(m.rows, m.columns));
  for (auto _ : state) {
    double const alone = seconds_of([&] { products(where, m.step()); });
    double const whole = seconds_of([&] { optimizer.step(where, m.step()); });
    state.SetIterationTime(whole);
    ratios.push_back(100.0 * whole / alone);
    rates.push_back(10.0 * side * side * (2.0 * depth + side) / whole);
  }
  state.counters["%products"] = median(ratios);
  state.counters["GF/s"] = median(rates) * 1e-9;
}

void sizes(benchmark::internal::Benchmark* b) {
  for (auto [rows, columns] : {std::pair{256, 256}, {768, 768}, {768, 3072}, {3072, 768}, {1024, 4096}})
    b->Args({rows, columns});
  b->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(7);
}
BENCHMARK_TEMPLATE(step, cpp)->Name("muon/cpp")->Apply(sizes);
#if defined(_OPENMP)
BENCHMARK_TEMPLATE(step, omp)->Name("muon/omp")->Apply(sizes);
#endif

}  // namespace

BENCHMARK_MAIN();
