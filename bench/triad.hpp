// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>
#include <diloco/executor/host.hpp>

#include <algorithm>
#include <chrono>
#include <vector>

namespace bench {

inline double seconds_of(auto&& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// STREAM's triad a = b + s·c over n floats on the executor under test, counted as 12 B per element. It
/// alternates with the sweep, so both are disturbed equally on a noisy machine.
template <class Executor>
class triad {
 public:
  explicit triad(std::size_t n) : n_(n), a_(n, 1.0f), b_(n, 2.0f), c_(n, 3.0f) {}

  double bytes_per_second() {
    kernel const k{a_.data(), b_.data(), c_.data()};
    double const seconds = seconds_of([&] { Executor{}.for_each(n_ / kernel::length, k); });
    benchmark::DoNotOptimize(a_.data());
    return 12.0 * static_cast<double>(n_) / seconds;
  }

 private:
  struct kernel {
    static constexpr std::size_t length = 4096;
    float *a, *b, *c;
    template <diloco::lanes L>
    void operator()(L, std::size_t tile) const {
      float* DILOCO_RESTRICT x = a + tile * length;
      float const* DILOCO_RESTRICT y = b + tile * length;
      float const* DILOCO_RESTRICT z = c + tile * length;
      for (std::size_t i = 0; i < length; ++i) x[i] = diloco::fma(0.5f, z[i], y[i]);
    }
  };
  std::size_t n_;
  std::vector<float> a_, b_, c_;
};

inline double median(std::vector<double>& v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// Times `sweep` (which moves `bytes` per call) against the triad, alternating. Reports parameters per
/// second, bytes per parameter and the share of the triad's bandwidth that the sweep's own bytes reach
/// (medians of the run).
/// `beside` is called with the seconds of each sweep.
template <class Executor, class Sweep, class Beside>
void against_triad(benchmark::State& state, std::size_t parameters, double bytes_per_parameter, Sweep&& sweep,
                   Beside&& beside) {
  static triad<Executor> reference(std::size_t{1} << 24);
  std::vector<double> share, speed;
  sweep();
  for (auto _ : state) {
    double const limit = reference.bytes_per_second();
    double const seconds = seconds_of(sweep);
    state.SetIterationTime(seconds);
    double const rate = bytes_per_parameter * static_cast<double>(parameters) / seconds;
    share.push_back(100.0 * rate / limit);
    speed.push_back(rate);
    beside(seconds);
  }
  state.counters["params/s"] =
      benchmark::Counter(static_cast<double>(parameters), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["B/param"] = bytes_per_parameter;
  state.counters["GB/s"] = median(speed) * 1e-9;
  state.counters["%triad"] = median(share);
}

template <class Executor, class Sweep>
void against_triad(benchmark::State& state, std::size_t parameters, double bytes_per_parameter,
                   Sweep&& sweep) {
  against_triad<Executor>(state, parameters, bytes_per_parameter, sweep, [](double) {});
}

}  // namespace bench
