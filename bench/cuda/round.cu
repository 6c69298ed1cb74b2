// SPDX-License-Identifier: Apache-2.0
// What a trainer does on a device: inner steps with their checks, a whole local round, and an inner step
// during a transfer. Timed by the wall clock, because the trainer itself waits for the device.
#include "device.cuh"

#include <span>

namespace {

using namespace diloco;
using bench::size;

/// The caller's part: one flat tensor and its gradient, on the device.
struct flat {
  bench::plane<cuda_stream, f32> memory;
  std::vector<tensor> list;
  std::vector<std::span<float const>> gradients;
  explicit flat(std::size_t n, bool with_gradient)
      : memory(n), list{{.name = "flat", .shape = {4096, n / 4096}, .data = memory.theta}} {
    if (with_gradient) gradients.emplace_back(memory.column("gradient"), n);
  }
};

double seconds_with_wait(auto&& work) {
  return bench::wall_seconds_of([&] {
    work();
    cuda_stream{}.wait();
  });
}

/// The check for non-finite gradients reads each of them once more. Clipping is in the same sweep.
template <element_optimizer O>
void checked_step(benchmark::State& state, size s, float clip_norm) {
  if (!bench::fits(state, static_cast<double>(s.n) * 4.0 * (3 + static_cast<double>(slot_count<O>)))) return;
  flat model(s.n, true);
  DiLoCo trainer(recipe<>{}
                     .with_inner(O{})
                     .with_outer(plain_sgd{})
                     .with_compressor(f32{})
                     .with_transport(alone{})
                     .with_schedule(manual{})
                     .with_executor(cuda_stream{})
                     .with_clip_norm(clip_norm),
                 model.list);
  bench::against_copy(
      state, s.n, inner_step_bytes<O> + 4, [&] { trainer.step(model.gradients); },
      [](auto& step) { return seconds_with_wait(step); });
}

/// Moves θ between rounds, outside the timing, because a round with Δ = 0 does less work.
struct drift_kernel {
  float* theta;
  std::size_t n;
  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t tile) const {
    for (std::size_t i = tile * 4096 + static_cast<std::size_t>(L::rank()); i < n && i < (tile + 1) * 4096;
         i += L::width)
      theta[i] += 1e-6f * static_cast<float>(static_cast<int>(mix64(i, 2) >> 52) - 2048);
  }
};

template <compressor C>
void local_round(benchmark::State& state, size s) {
  if (!bench::fits(state, static_cast<double>(s.n) * (20 + 2 * wire_bytes_per_parameter<C>))) return;
  flat model(s.n, false);
  DiLoCo trainer(recipe<>{}
                     .with_inner(external{})
                     .with_outer(nesterov{})
                     .with_compressor(C{})
                     .with_transport(alone{})
                     .with_schedule(manual{})
                     .with_executor(cuda_stream{}),
                 model.list);
  bench::against_copy(
      state, s.n, encode_bytes<C, error_feedback> + apply_outer_bytes<C, nesterov>(1),
      [&] { trainer.sync(); },
      [&](auto& round) {
        cuda_stream{}.for_each((s.n + 4095) / 4096, drift_kernel{model.memory.theta, s.n});
        cuda_stream{}.wait();
        trainer.after_step();
        return seconds_with_wait(round);
      });
}

/// Times an AdamW step alone and during a copy to the host on a second stream: `%slower`. The copy stands for
/// an exchange between devices until one can be measured. It must begin before the step and end after it.
void overlap(benchmark::State& state, size s) {
  std::size_t const sent = std::size_t{1} << 30;
  if (!bench::fits(state, static_cast<double>(s.n) * 16 + static_cast<double>(sent))) return;
  bench::stream const compute, network;
  bench::stepping<cuda_stream, adamw> const step(s.n, cuda_stream{.stream = compute});
  buffer const from = cuda_stream{}.allocate(sent), to = cuda_stream{}.allocate_wire(sent);
  bench::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  bench::stopwatch const watch(compute);
  cudaEvent_t began = nullptr;
  bench::check(cudaEventCreateWithFlags(&began, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  std::vector<double> slower;
  step();
  for (auto _ : state) {
    double const alone = watch.seconds_of(step);
    bench::check(cudaEventRecord(began, network), "cudaEventRecord");
    bench::check(cudaMemcpyAsync(to.data(), from.data(), sent, cudaMemcpyDeviceToHost, network),
                 "cudaMemcpyAsync");
    bench::check(cudaEventSynchronize(began), "cudaEventSynchronize");
    double const beside = watch.seconds_of(step);
    if (cudaStreamQuery(network) != cudaErrorNotReady) {
      state.SkipWithError("the copy ended before the step did");
      break;
    }
    bench::check(cudaStreamSynchronize(network), "cudaStreamSynchronize");
    state.SetIterationTime(beside);
    slower.push_back(100.0 * (beside / alone - 1));
  }
  if (!slower.empty()) state.counters["%slower"] = bench::median(slower);
  cudaEventDestroy(began);
}

template <element_optimizer O>
void add_steps() {
  std::string const name = "checked_step/" + std::string(O::name);
  for (size s : bench::sizes) {
    bench::add(name + "/N:" + s.name, [s](benchmark::State& b) { checked_step<O>(b, s, no_clipping); });
    bench::add(name + "/clipped/N:" + s.name, [s](benchmark::State& b) { checked_step<O>(b, s, 1.0f); });
  }
}

template <compressor C>
void add_rounds() {
  for (size s : bench::sizes)
    bench::add("local_round/" + std::string(C::name) + "/N:" + s.name,
               [s](benchmark::State& b) { local_round<C>(b, s); });
}

void register_all() {
  add_steps<adamw>();
  add_steps<sgd>();
  add_steps<lion>();
  add_rounds<f32>();
  add_rounds<absmax<8>>();
  add_rounds<absmax<4>>();
  for (size s : bench::sizes)
    bench::add(std::string("overlap/adamw/copy_to_host/N:") + s.name,
               [s](benchmark::State& b) { overlap(b, s); });
}

}  // namespace

int main(int argc, char** argv) { return bench::run_on_device(argc, argv, register_all); }
