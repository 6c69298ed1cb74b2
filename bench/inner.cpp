// SPDX-License-Identifier: Apache-2.0
// The inner step of a trainer with all its checks. It compares one flat tensor with 10,000 tensors of 1 to
// 4,096 elements and the same total. It also measures the cost of clipping and of bfloat16 tensors.
// The bandwidth counts the bytes of the step alone, so a check appears as a loss.
#include <diloco/diloco.hpp>
#if defined(_OPENMP)
#include <diloco/executor/omp.hpp>
#endif

#include "triad.hpp"

namespace {

using namespace diloco;

/// Sizes of the tensors: unequal, and the same in every run.
std::vector<std::size_t> many_sizes() {
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < 10000; ++i) sizes.push_back(i * 7919 % 4096 + 1);
  return sizes;
}
std::size_t total() {
  std::size_t sum = 0;
  for (std::size_t n : many_sizes()) sum += n;
  return sum;
}

/// Tensors with gradients. Each has its own allocation, as in a framework: first all parameters and then the
/// gradients.
/// If each gradient lay right behind its parameter, any loop over both would be slower. x += y over such
/// vectors of 2,048 takes 1.6 times as long as over two flat ones, and the step 1.7 to 2.2 times.
struct tensors {
  std::vector<std::vector<float>> values, slopes;
  std::vector<std::vector<bfloat16>> narrow;
  std::vector<tensor> list;
  tensors(std::vector<std::size_t> const& sizes, bool bf16) {
    for (std::size_t n : sizes) {
      if (bf16)
        narrow.emplace_back(n, bfloat16{bf16_from_float(1.0f)});
      else
        values.emplace_back(n, 1.0f);
    }
    for (std::size_t n : sizes) slopes.emplace_back(n, 1e-3f);
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      list.push_back({.name = "t" + std::to_string(t),
                      .shape = {sizes[t]},
                      .data = bf16 ? nullptr : values[t].data(),
                      .bf16 = bf16 ? narrow[t].data() : nullptr});
    }
  }
};

template <class Executor, element_optimizer O>
void step(benchmark::State& state, std::vector<std::size_t> const& sizes, float clip_norm, bool bf16) {
  tensors t(sizes, bf16);
  DiLoCo trainer(recipe<>{}
                     .with_inner(O{})
                     .with_transport(alone{})
                     .with_schedule(manual{})
                     .with_executor(Executor{})
                     .with_clip_norm(clip_norm),
                 t.list);
  std::vector<std::span<float const>> const gradients(t.slopes.begin(), t.slopes.end());
  bench::against_triad<Executor>(state, total(), inner_step_bytes<O> + (bf16 ? 2.0 : 0.0),
                                 [&] { trainer.step(gradients); });
}

template <class Executor, class O>
void add(std::string const& threads) {
  auto const name = [&](char const* what) {
    return std::string("step/") + std::string(O::name) + what + threads;
  };
  auto const one = [](auto* b) { b->UseManualTime()->Unit(benchmark::kMillisecond); };
  auto const put = [&](char const* what, bool many, float clip, bool bf16) {
    one(benchmark::RegisterBenchmark(name(what).c_str(), [=](benchmark::State& state) {
      step<Executor, O>(state, many ? many_sizes() : std::vector<std::size_t>{total()}, clip, bf16);
    }));
  };
  put("/flat", false, no_clipping, false);
  put("/10000", true, no_clipping, false);
  put("/flat/clipped", false, 1.0f, false);
  put("/flat/bf16", false, no_clipping, true);
}

template <class Executor>
void add_all(std::string const& threads) {
  add<Executor, adamw>(threads);
  add<Executor, lion>(threads);
  add<Executor, sgd>(threads);
}

}  // namespace

int main(int argc, char** argv) {
  add_all<cpp>("/1thread");
#if defined(_OPENMP)
  add_all<omp>("/omp");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
