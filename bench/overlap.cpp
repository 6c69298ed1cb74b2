// SPDX-License-Identifier: Apache-2.0
// Steps per second while messages are under way, over MPI or between two threads. Run by overlap.py, which
// shapes the link.
// usage: overlap MEGAPARAMETERS STEP_MILLISECONDS STEPS every|streaming|none [thread|threads]
// thread: MPI moves messages in a thread of its own. threads: the transport of that name, without MPI.
#include <diloco/diloco.hpp>
#include <diloco/transport/mpi.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace {

using clock_type = std::chrono::steady_clock;
double seconds_since(clock_type::time_point t) {
  return std::chrono::duration<double>(clock_type::now() - t).count();
}

constexpr std::size_t tensors = 16;

struct settings {
  std::size_t elements = 0;
  double step_seconds = 0;
  int steps = 0;
};

// The model's forward and backward pass is a loop that keeps the core busy for a while.
template <class Transport, class Schedule>
void train(settings const& s, Transport transport, Schedule schedule) {
  std::vector<std::vector<float>> values(tensors, std::vector<float>(s.elements / tensors));
  std::vector<float> gradient(s.elements / tensors, 0.01f);
  std::vector<diloco::tensor> parameters;
  for (auto& v : values) parameters.push_back({diloco::say({"t", parameters.size()}), {v.size()}, v.data()});
  std::vector<std::span<float const>> const gradients(tensors, gradient);
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_compressor(diloco::absmax<8>{})
                             .with_transport(std::move(transport))
                             .with_schedule(schedule),
                         parameters);
  double computing = 0;
  auto const start = clock_type::now();
  for (int step = 0; step < s.steps; ++step) {
    auto const begin = clock_type::now();
    while (seconds_since(begin) < s.step_seconds) {
    }
    computing += seconds_since(begin);
    trainer.step(gradients);
  }
  double const all = seconds_since(start);
  if (trainer.transport().rank() == 0)
    std::printf("%.4f %.4f %zu %llu\n", all, computing, trainer.wire_bytes_at_once(),
                static_cast<unsigned long long>(trainer.rounds()));
}

template <class Transport>
void train(settings const& s, Transport transport, std::string_view schedule) {
  if (schedule == "streaming")
    train(s, std::move(transport), diloco::streaming{.inner_steps = 40, .parts = 4, .delay = 9});
  else if (schedule == "every")
    train(s, std::move(transport), diloco::every(40));
  else
    train(s, std::move(transport), diloco::manual{});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return std::fprintf(stderr, "see the top of overlap.cpp\n"), 2;
  settings const s{static_cast<std::size_t>(std::atof(argv[1]) * 1e6), std::atof(argv[2]) / 1e3,
                   std::atoi(argv[3])};
  std::string_view const schedule = argv[4], how = argc > 5 ? argv[5] : "";
  if (how == "threads") {
    diloco::run_threads(2, [&](diloco::threads end) { train(s, std::move(end), schedule); });
    return 0;
  }
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  {
    diloco::mpi transport(MPI_COMM_WORLD);
    if (how == "thread") transport.progress_in_background();
    train(s, std::move(transport), schedule);
  }
  MPI_Finalize();
}
