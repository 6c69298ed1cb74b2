// SPDX-License-Identifier: Apache-2.0
// The three sweeps over one flat tensor of 2^24 parameters, each against the triad of the same run. Reports
// bytes per parameter from the traffic constants, and the share of the memory limit that they reach.
#include <diloco/diloco.hpp>
#if defined(_OPENMP)
#include <diloco/executor/omp.hpp>
#endif

#include "sweeps.hpp"
#include "triad.hpp"

#include <algorithm>
#include <cmath>

namespace {

using namespace diloco;
constexpr std::size_t n = std::size_t{1} << 24;

template <class Executor, element_optimizer O>
void inner_step(benchmark::State& state) {
  bench::stepping<Executor, O> const step(n);
  bench::against_triad<Executor>(state, n, inner_step_bytes<O>, step);
}

/// Times a whole-tensor optimizer on one tensor, alternating with `Other`, which has float32 slots. %time is
/// its time relative to the other's.
template <class Executor, tensor_optimizer O, element_optimizer Other>
void whole_step(benchmark::State& state) {
  bench::stepping<Executor, Other> const other(n);
  bench::plane<Executor, f32> p(n);
  layout::row const& row = p.l.rows()[0];
  std::size_t const columns = row.columns(), rows = row.size / columns;
  float const* const g = p.column();
  float* const memory = p.zeros(memory_elements_of<O>(rows, columns));
  float* const scratch = p.zeros(O::scratch_elements(rows, columns));
  float const one = 1.0f;
  std::vector<double> ratios;
  double const bytes =
      12.0 + 8.0 * static_cast<double>(memory_elements_of<O>(rows, columns)) / static_cast<double>(n);
  bench::against_triad<Executor>(
      state, n, bytes,
      [&] {
        O{}.step(p.executor,
                 tensor_step<0>{rows, columns, p.theta, g, &one, {}, memory, scratch, {100, 1.0f}});
      },
      [&](double seconds) { ratios.push_back(100.0 * seconds / bench::seconds_of(other)); });
  state.counters["%time"] = bench::median(ratios);
}

template <class Executor, compressor C, feedback F>
void sweep_a(benchmark::State& state) {
  bench::plane<Executor, C> p(n);
  bench::encoding<Executor, C, F> encode{p, p.wire()};
  bench::against_triad<Executor>(state, n, encode_bytes<C, F>, encode);
}

template <class Executor, compressor C>
void sweep_b(benchmark::State& state) {
  int const contributors = static_cast<int>(state.range(0));
  bench::applying<Executor, C> const apply(n, contributors);
  bench::against_triad<Executor>(state, n, apply_outer_bytes<C, nesterov>(contributors), apply);
  // The compute limit: the same kernel runs over four tiles again and again, and they stay in L2.
  std::size_t const resident = 4, elements = resident * apply.p.l.tiles()[0].count;
  int const times = 64;
  double least = 1;
  for (int trial = 0; trial < 5; ++trial) {
    double const seconds = bench::seconds_of([&] { apply.first(resident, times); });
    least = std::min(least, seconds / times / static_cast<double>(elements));
  }
  state.counters["%compute"] = benchmark::Counter(100.0 * least * static_cast<double>(n),
                                                  benchmark::Counter::kIsIterationInvariantRate);
}

template <class Executor>
void register_all(std::string const& on) {
  auto const add = [&](std::string const& name, auto* function) {
    return benchmark::RegisterBenchmark((name + "/" + on).c_str(), function)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("inner_step/adamw", inner_step<Executor, adamw>);
  add("inner_step/sgd", inner_step<Executor, sgd>);
  add("inner_step/plain_sgd", inner_step<Executor, plain_sgd>);
  add("inner_step/lion", inner_step<Executor, lion>);
  add("inner_step/schedule_free_adamw", inner_step<Executor, schedule_free_adamw>);
  add("inner_step/delayed_nesterov", inner_step<Executor, delayed_nesterov>);
  add("inner_step/fedyogi", inner_step<Executor, fedyogi>);
  add("inner_step/adamw8bit", whole_step<Executor, adamw8bit<>, adamw>);
  auto const both = [&]<class C>(C) {
    std::string const name(C::name);
    add("sweep_a/" + name, sweep_a<Executor, C, error_feedback>);
    add("sweep_b/" + name + "/K", sweep_b<Executor, C>)->Arg(2)->Arg(8);
  };
  bench::for_common_compressors(both);
  bench::for_other_compressors(both);
  add("sweep_a/absmax4/256+averaged_error", sweep_a<Executor, absmax<4>, averaged_error>);
  add("sweep_a/absmax4/256+ef21", sweep_a<Executor, absmax<4>, ef21>);
}

}  // namespace

int main(int argc, char** argv) {
  register_all<cpp>("1thread");
#if defined(_OPENMP)
  register_all<omp>("omp");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
