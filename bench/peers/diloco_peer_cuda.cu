// SPDX-License-Identifier: Apache-2.0
// The diloco side of run.py --device cuda: the local work of pytorch_peer.py --device cuda, timed with CUDA
// events.
// Arguments are those of diloco_peer, and --parameters, by default 2^28. Without a device it prints one
// sentence and returns 77.

#include "peer.hpp"

#include <diloco/executor/cuda.cuh>

#include <memory>

namespace {

using namespace peer;
using diloco::cuda_stream;

void check(cudaError_t code, char const* call) {
  if (code != cudaSuccess)
    throw std::runtime_error(std::string(call) + " failed: " + cudaGetErrorString(code));
}

/// to[i] ← scale · noise, or to[i] += scale · noise: uniform, of unit variance.
struct noise_kernel {
  static constexpr std::size_t run = 4096;
  float* to;
  std::size_t n;
  float scale, kept;
  std::uint64_t seed;
  template <diloco::lanes L>
  DILOCO_HD void operator()(L, std::size_t tile) const {
    for (std::size_t i = tile * run + static_cast<std::size_t>(L::rank()); i < n && i < (tile + 1) * run;
         i += L::width) {
      auto const h = static_cast<std::int32_t>(diloco::mix64(seed, i + 1) >> 32);
      to[i] = kept * to[i] + scale * 1.7320508f * 0x1p-31f * static_cast<float>(h);
    }
  }
};

/// Tensors of a layout on the device. Each has its own allocation and is filled with noise of a given size.
class tensors {
 public:
  tensors(std::string const& layout, std::size_t total, float scale) {
    for (shape const& s : shapes_of(layout, total)) {
      memory_.push_back(cuda_stream{}.allocate(size_of(s) * sizeof(float)));
      list_.push_back(
          {.name = "t" + std::to_string(list_.size()), .shape = s, .data = memory_.back().as<float>()});
    }
    add_noise(scale, 0.0f);
  }
  void add_noise(float scale, float kept = 1.0f) {
    seed_ += 1;
    for (diloco::tensor const& t : list_)
      cuda_stream{}.for_each((t.size() + noise_kernel::run - 1) / noise_kernel::run,
                             noise_kernel{t.data, t.size(), scale, kept, seed_});
    cuda_stream{}.wait();
  }
  [[nodiscard]] std::vector<diloco::tensor> const& list() const { return list_; }
  [[nodiscard]] std::vector<std::span<float const>> spans() const {
    std::vector<std::span<float const>> all;
    for (diloco::tensor const& t : list_) all.emplace_back(t.data, t.size());
    return all;
  }

 private:
  std::vector<diloco::buffer> memory_;
  std::vector<diloco::tensor> list_;
  std::uint64_t seed_ = 0;
};

template <class Step, class Before>
milliseconds measure(int repeat, Step&& step, Before&& before) {
  cudaEvent_t begin = nullptr, end = nullptr;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  milliseconds samples;
  for (int i = 0; i < warm_up + repeat; ++i) {
    before();
    check(cudaEventRecord(begin), "cudaEventRecord");
    step();
    check(cudaEventRecord(end), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float taken = 0;
    check(cudaEventElapsedTime(&taken, begin, end), "cudaEventElapsedTime");
    if (i >= warm_up) samples.push_back(static_cast<double>(taken));
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return samples;
}

template <class Optimizer>
milliseconds inner(Optimizer const& optimizer, std::string const& layout, std::size_t total, int repeat) {
  tensors const theta(layout, total, 1.0f), gradients(layout, total, 1e-3f);
  auto const spans = gradients.spans();
  auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                    .with_inner(optimizer)
                                    .with_transport(diloco::alone{})
                                    .with_schedule(diloco::manual{})
                                    .with_executor(cuda_stream{}),
                                theta.list());
  return measure(
      repeat, [&] { trainer.step(spans); }, [] {});
}

/// Between timed rounds θ drifts by about 1e-3, as inner steps would move it, because a round with Δ = 0 does
/// less work.
template <class Compressor>
milliseconds outer(std::string const& layout, std::size_t total, int repeat) {
  tensors theta(layout, total, 1.0f);
  auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                    .with_inner(diloco::external{})
                                    .with_outer(diloco::nesterov{.lr = 0.7f, .momentum = 0.9f})
                                    .with_compressor(Compressor{})
                                    .with_transport(diloco::alone{})
                                    .with_schedule(diloco::manual{})
                                    .with_executor(cuda_stream{}),
                                theta.list());
  return measure(
      repeat, [&] { trainer.sync(); },
      [&] {
        theta.add_noise(1e-3f);
        trainer.after_step();
      });
}

works all_works(std::size_t total) {
  works all;
  for (std::string const layout : {"flat", "list"}) {
    auto const add = [&](auto const& optimizer) {
      all[std::string(optimizer.name) + "_" + layout] = [=](int repeat) {
        return inner(optimizer, layout, total, repeat);
      };
    };
    add(diloco::adamw{.lr = 4e-4f, .weight_decay = 0.1f});
    add(diloco::sgd{.lr = 1e-2f, .momentum = 0.9f, .weight_decay = 0.01f});
    add(diloco::lion{.lr = 1e-4f, .weight_decay = 0.1f});
    all["local_outer_" + layout + "_absmax8"] = [=](int repeat) {
      return outer<diloco::absmax<8>>(layout, total, repeat);
    };
    all["local_outer_" + layout + "_f32"] = [=](int repeat) {
      return outer<diloco::f32>(layout, total, repeat);
    };
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) try {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::fprintf(stderr, "diloco_peer_cuda: no CUDA device here, so nothing was measured\n");
    return 77;
  }
  std::vector<std::string> const arguments(argv + 1, argv + argc);
  run(all_works(std::stoul(after(arguments, "--parameters", "268435456"))), arguments);
  return 0;
} catch (std::exception const& e) {
  std::fprintf(stderr, "diloco_peer_cuda: %s\n", e.what());
  return 1;
}
