// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sweeps.hpp"

#include <benchmark/benchmark.h>
#include <diloco/executor/cuda.cuh>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

inline void check(cudaError_t code, char const* call) {
  if (code == cudaSuccess) return;
  std::fprintf(stderr, "%s failed: %s\n", call, cudaGetErrorString(code));
  std::exit(1);
}

/// Copies between any two kinds of memory, after everything that was enqueued has ended.
template <class Executor>
requires(!Executor::columns_on_host) struct columns_of<Executor> {
  static void put(Executor const& e, void* to, void const* from, std::size_t bytes) {
    e.wait();
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy");
  }
};

/// Owns a stream.
class stream {
 public:
  stream() { check(cudaStreamCreateWithFlags(&it_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  ~stream() { cudaStreamDestroy(it_); }
  stream(stream const&) = delete;
  stream& operator=(stream const&) = delete;
  operator cudaStream_t() const { return it_; }

 private:
  cudaStream_t it_ = nullptr;
};

/// Seconds between two events on a stream. `work` enqueues what lies between them.
class stopwatch {
 public:
  explicit stopwatch(cudaStream_t on = nullptr) : on_(on) {
    for (cudaEvent_t* e : {&begin_, &end_}) check(cudaEventCreate(e), "cudaEventCreate");
  }
  ~stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  stopwatch(stopwatch const&) = delete;
  stopwatch& operator=(stopwatch const&) = delete;

  template <class Work>
  double seconds_of(Work&& work) const {
    check(cudaEventRecord(begin_, on_), "cudaEventRecord");
    work();
    check(cudaEventRecord(end_, on_), "cudaEventRecord");
    check(cudaEventSynchronize(end_), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "cudaEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaStream_t on_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

/// The memory limit: a copy of 1 GiB from device memory to device memory, counted as 2 GiB. It alternates
/// with the sweep under test.
class copy_roof {
 public:
  static constexpr std::size_t bytes = std::size_t{1} << 30;
  copy_roof() { held += 2.0 * bytes; }
  copy_roof(copy_roof const&) = delete;
  copy_roof& operator=(copy_roof const&) = delete;
  static inline double held = 0;  // bytes on the device so far
  double bytes_per_second() const {
    return 2.0 * static_cast<double>(bytes) / watch_.seconds_of([&] {
      check(cudaMemcpyAsync(to_.data(), from_.data(), bytes, cudaMemcpyDeviceToDevice, nullptr),
            "cudaMemcpyAsync");
    });
  }

 private:
  buffer to_ = cuda_stream{}.allocate(bytes), from_ = cuda_stream{}.allocate(bytes);
  stopwatch watch_;
};

inline double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2), v.end());
  return v[v.size() / 2];
}

/// Whether `bytes` bytes are free on the device besides the copy's. If not, the benchmark is skipped with an
/// error message. It first waits for the device, which returns the previous benchmark's memory.
inline bool fits(benchmark::State& state, double bytes) {
  std::size_t free = 0, total = 0;
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  double const needed = bytes + 2.0 * copy_roof::bytes - copy_roof::held + 0x1p30;
  if (needed <= static_cast<double>(free)) return true;
  auto const gibibytes = static_cast<long>(std::ceil(needed * 0x1p-30));
  state.SkipWithError(
      ("needs " + std::to_string(gibibytes) + " GiB of device memory; free are " + std::to_string(free >> 30))
          .c_str());
  return false;
}

inline double wall_seconds_of(auto&& work) {
  auto const start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Times `sweep` against the copy, alternating. Reports parameters per second, bytes per parameter, and the
/// share of the copy's bandwidth that the sweep's own bytes reach (medians of the run).
/// A sweep moves many times the size of L2. So each call finds in L2 only what the end of the previous call
/// left there.
/// `seconds_of(sweep)` measures with events by default.
template <class Sweep, class Clock>
void against_copy(benchmark::State& state, std::size_t parameters, double bytes_per_parameter, Sweep&& sweep,
                  Clock&& seconds_of) {
  static copy_roof const& roof = *new copy_roof;  // never freed, because statics outlive the driver
  std::vector<double> share, speed;
  sweep();
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (auto _ : state) {
    double const limit = roof.bytes_per_second();
    double const seconds = seconds_of(sweep);
    state.SetIterationTime(seconds);
    double const rate = bytes_per_parameter * static_cast<double>(parameters) / seconds;
    share.push_back(100.0 * rate / limit);
    speed.push_back(rate);
  }
  if (share.empty()) return;
  state.counters["params/s"] =
      benchmark::Counter(static_cast<double>(parameters), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["B/param"] = bytes_per_parameter;
  state.counters["GB/s"] = median(speed) * 1e-9;
  state.counters["%copy"] = median(share);
}
template <class Sweep>
void against_copy(benchmark::State& state, std::size_t parameters, double bytes_per_parameter,
                  Sweep&& sweep) {
  stopwatch const watch;
  against_copy(state, parameters, bytes_per_parameter, sweep,
               [&](auto& work) { return watch.seconds_of(work); });
}

/// The measured sizes and their names: 2^28 and 2^30, a billion.
struct size {
  std::size_t n;
  char const* name;
};
inline constexpr size sizes[] = {{std::size_t{1} << 28, "2^28"}, {std::size_t{1} << 30, "2^30"}};

/// Ten samples each. The cost of one is known, and all of them together should take minutes.
template <class F>
void add(std::string const& name, F function) {
  benchmark::RegisterBenchmark(name.c_str(), function)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->Iterations(10);
}

/// main. Without a device it prints one sentence, returns 77 and measures nothing.
template <class Register>
int run_on_device(int argc, char** argv, Register&& register_all) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "%s: no CUDA device here, so nothing was measured\n", argv[0]);
    return 77;
  }
  cudaDeviceProp properties;
  int driver = 0, runtime = 0;
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
  if (static_cast<std::size_t>(properties.l2CacheSize) > copy_roof::bytes / 4) {
    std::fprintf(stderr,
                 "%s: L2 holds a large part of what is timed; the sizes are too small for this device\n",
                 argv[0]);
    return 1;
  }
  auto const version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
  benchmark::AddCustomContext("device", properties.name);
  benchmark::AddCustomContext("driver_cuda", version(driver));
  benchmark::AddCustomContext("runtime_cuda", version(runtime));
  benchmark::AddCustomContext("l2_bytes", std::to_string(properties.l2CacheSize));
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace bench
