// SPDX-License-Identifier: Apache-2.0
// The diloco side of run.py: the same work as pytorch_peer.py, answered request by request.
//   diloco_peer [--threads 1|2] [--repeat 7]   every work once, one JSON line each
//   diloco_peer --serve                        reads "WORK REPEAT" lines from standard input
// Between timed steps θ drifts by about 1e-3, as inner steps would move it, because a round with Δ = 0 does
// less work.

#include <diloco/diloco.hpp>

#if defined(_OPENMP)
#include <omp.h>
#include <diloco/executor/omp.hpp>
#endif

#include "peer.hpp"

#include <algorithm>
#include <barrier>
#include <chrono>

namespace {

using namespace peer;
constexpr int workers = 2;

/// Tensors of a layout. Each has its own allocation and is filled with noise of a given size.
class tensors {
 public:
  tensors(std::string const& layout, float scale) {
    std::uint64_t state = 88172645463325252ull;
    for (shape const& s : shapes_of(layout, parameters)) {
      std::vector<float>& values = values_.emplace_back(size_of(s));
      for (float& v : values) v = scale * noise(state);
      list_.push_back({.name = "t" + std::to_string(list_.size()), .shape = s, .data = values.data()});
    }
  }
  [[nodiscard]] std::vector<diloco::tensor> const& list() const { return list_; }
  [[nodiscard]] std::vector<std::span<float const>> spans() const { return {values_.begin(), values_.end()}; }

  void add(tensors const& other) {
    for (std::size_t t = 0; t < values_.size(); ++t) {
      for (std::size_t i = 0; i < values_[t].size(); ++i) values_[t][i] += other.values_[t][i];
    }
  }

 private:
  std::vector<std::vector<float>> values_;
  std::vector<diloco::tensor> list_;
};

template <class Step, class Before>
milliseconds measure(int repeat, Step&& step, Before&& before) {
  using clock = std::chrono::steady_clock;
  milliseconds samples;
  for (int i = 0; i < warm_up + repeat; ++i) {
    before();
    auto const begin = clock::now();
    step();
    if (i >= warm_up)
      samples.push_back(std::chrono::duration<double, std::milli>(clock::now() - begin).count());
  }
  return samples;
}

template <class Executor, class Optimizer>
milliseconds inner(Optimizer const& optimizer, std::string const& layout, Executor executor, int repeat) {
  tensors theta(layout, 1.0f);
  tensors const gradients(layout, 1e-3f);
  auto const spans = gradients.spans();
  auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                    .with_inner(optimizer)
                                    .with_transport(diloco::alone{})
                                    .with_schedule(diloco::manual{})
                                    .with_executor(executor),
                                theta.list());
  return measure(
      repeat, [&] { trainer.step(spans); }, [] {});
}

/// `meet` runs between the drift of θ and the timed round.
template <class Compressor, class Transport, class Executor, class Meet>
milliseconds outer(std::string const& layout, Transport transport, Executor executor, int repeat,
                   Meet&& meet) {
  tensors theta(layout, 1.0f);
  tensors const drift(layout, 1e-3f);
  auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                    .with_inner(diloco::external{})
                                    .with_outer(diloco::nesterov{.lr = 0.7f, .momentum = 0.9f})
                                    .with_compressor(Compressor{})
                                    .with_transport(std::move(transport))
                                    .with_schedule(diloco::manual{})
                                    .with_executor(executor),
                                theta.list());
  return measure(
      repeat, [&] { trainer.sync(); },
      [&] {
        theta.add(drift);
        trainer.after_step();
        meet();
      });
}

/// A step takes as long as its slowest worker.
template <class Compressor>
milliseconds whole_outer(int repeat) {
  std::vector<milliseconds> times(workers);
  std::barrier meeting(workers);
  diloco::run_threads(workers, [&](diloco::threads transport) {
    auto const rank = static_cast<std::size_t>(transport.rank());
    times[rank] = outer<Compressor>("flat", std::move(transport), diloco::cpp{}, repeat,
                                    [&] { meeting.arrive_and_wait(); });
  });
  for (std::size_t i = 0; i < times[0].size(); ++i) {
    for (auto const& other : times) times[0][i] = std::max(times[0][i], other[i]);
  }
  return times[0];
}

template <class Executor>
works all_works(Executor executor) {
  works all;
  for (std::string const layout : {"flat", "list"}) {
    auto const add = [&](auto const& optimizer) {
      all[std::string(optimizer.name) + "_" + layout] = [=](int repeat) {
        return inner(optimizer, layout, executor, repeat);
      };
    };
    add(diloco::adamw{.lr = 4e-4f, .weight_decay = 0.1f});
    add(diloco::sgd{.lr = 1e-2f, .momentum = 0.9f, .weight_decay = 0.01f});
    add(diloco::lion{.lr = 1e-4f, .weight_decay = 0.1f});
    all["local_outer_" + layout + "_absmax8"] = [=](int repeat) {
      return outer<diloco::absmax<8>>(layout, diloco::alone{}, executor, repeat, [] {});
    };
    all["local_outer_" + layout + "_f32"] = [=](int repeat) {
      return outer<diloco::f32>(layout, diloco::alone{}, executor, repeat, [] {});
    };
  }
  all["whole_outer_threads_absmax8"] = whole_outer<diloco::absmax<8>>;
  all["whole_outer_threads_f32"] = whole_outer<diloco::f32>;
  return all;
}

works works_on(int threads) {
  if (threads == 1) return all_works(diloco::cpp{});
#if defined(_OPENMP)
  omp_set_num_threads(threads);
  return all_works(diloco::omp{});
#else
  throw std::runtime_error("more than one thread needs OpenMP; build the target with it");
#endif
}

}  // namespace

int main(int argc, char** argv) try {
  std::vector<std::string> const arguments(argv + 1, argv + argc);
  run(works_on(std::atoi(after(arguments, "--threads", "1").c_str())), arguments);
  return 0;
} catch (std::exception const& e) {
  std::fprintf(stderr, "diloco_peer: %s\n", e.what());
  return 1;
}
