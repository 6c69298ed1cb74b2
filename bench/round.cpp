// SPDX-License-Identifier: Apache-2.0
// Whole outer steps over threads, with K workers of 2^24 parameters each, in both exchange patterns. Compares
// the time of a round and the bytes of its sweeps (concepts/traffic.hpp) with a two-thread triad of the same
// run.
#include <diloco/diloco.hpp>
#if defined(_OPENMP)
#include <diloco/executor/omp.hpp>
#endif

#include "triad.hpp"

#include <atomic>
#include <barrier>
#include <thread>

namespace {

using namespace diloco;
constexpr std::size_t n = std::size_t{1} << 24;

#if defined(_OPENMP)
using reference_executor = omp;
#else
using reference_executor = cpp;
#endif

/// K trainers on their own threads. Each does one round whenever `round()` is called.
template <compressor C, class Exchange>
class crew {
 public:
  explicit crew(int workers) : gate_(workers + 1) {
    threads_world world(workers);
    for (int rank = 0; rank < workers; ++rank) {
      pool_.emplace_back([this, end = world.transport(rank)]() mutable { work(std::move(end)); });
    }
    gate_.arrive_and_wait();
  }
  ~crew() {
    stop_ = true;
    gate_.arrive_and_wait();
  }
  double round() {
    return bench::seconds_of([&] {
      gate_.arrive_and_wait();
      gate_.arrive_and_wait();
    });
  }

 private:
  void work(threads transport) {
    std::vector<float> theta(n, 0.5f);
    std::vector<tensor> const parameters{{"flat", {n}, theta.data()}};
    using trainer_type =
        DiLoCo<external, nesterov, C, threads, error_feedback, weighted_mean, Exchange, manual, cpp, silent>;
    float const drift = 1e-3f * static_cast<float>(transport.rank() + 1);
    trainer_type trainer({.transport = std::move(transport)}, parameters);
    for (std::size_t i = 0; i < n; ++i) theta[i] -= drift * static_cast<float>(i % 97);
    gate_.arrive_and_wait();
    for (;;) {
      gate_.arrive_and_wait();
      if (stop_) return;
      theta[0] += drift;  // a round without motion would be dropped
      trainer.after_step();
      trainer.sync();
      gate_.arrive_and_wait();
    }
  }
  std::barrier<> gate_;
  std::atomic<bool> stop_{false};
  std::vector<std::jthread> pool_;
};

template <compressor C, class Exchange>
void round_over_threads(benchmark::State& state) {
  int const workers = static_cast<int>(state.range(0));
  bool const gathers = Exchange{}.legs(workers).count == 1;
  double const bytes = encode_bytes<C, error_feedback> +
                       apply_outer_bytes<C, nesterov>(gathers ? workers : 1) +
                       (gathers ? 0.0 : combine_bytes<C, error_feedback>(workers));
  crew<C, Exchange> all(workers);
  all.round();
  static bench::triad<reference_executor> reference(n);
  std::vector<double> share;
  for (auto _ : state) {
    double const limit = reference.bytes_per_second();
    double const seconds = all.round();
    state.SetIterationTime(seconds);
    share.push_back(100.0 * bytes * workers * static_cast<double>(n) / seconds / limit);
  }
  std::nth_element(share.begin(), share.begin() + static_cast<std::ptrdiff_t>(share.size() / 2), share.end());
  state.counters["B/param"] = bytes;
  state.counters["params/s"] =
      benchmark::Counter(static_cast<double>(n) * workers, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["%triad"] = share[share.size() / 2];
}

template <compressor C>
void register_patterns() {
  auto const add = [](std::string const& name, auto* function) {
    benchmark::RegisterBenchmark(name.c_str(), function)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Arg(2)
        ->Arg(4)
        ->Arg(8);
  };
  add("round/gather/" + std::string(C::name) + "/K", round_over_threads<C, gather>);
  add("round/scatter_gather/" + std::string(C::name) + "/K", round_over_threads<C, scatter_gather>);
}

}  // namespace

int main(int argc, char** argv) {
  register_patterns<f32>();
  register_patterns<absmax<8>>();
  register_patterns<absmax<4>>();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
