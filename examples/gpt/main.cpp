// SPDX-License-Identifier: Apache-2.0
// Trains the same GPT twice from the same start, data-parallel and with DiLoCo, and compares the runs.
#include "bad_input.hpp"
#include "choice.hpp"
#include "device.hpp"
#include "host_learner.hpp"
#include "report.hpp"
#include "sample.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>

namespace {

using namespace gpt;
namespace fs = std::filesystem;

// Where the workers run: in threads of this process, or in the processes that mpirun started.
struct world {
  int workers = 1, rank = 0;
  std::optional<mpi_world> mpi;
  bool speaks() const { return rank == 0; }
  display display_of(int worker) const {
    return worker == 0 ? suitable_display(mpi.has_value()) : display::nothing;
  }
  void run(worker const& work) {
    if (mpi) return mpi->run(work);
    run_on_threads(workers, work);
  }
};

void join_mpi(world& w, options& o, int& argc, char**& argv) {
  w.mpi.emplace(argc, argv);
  w.rank = w.mpi->rank();
  if (o.workers_given && o.workers != w.mpi->size()) {
    throw bad_input("--workers " + std::to_string(o.workers) + ": mpirun started " +
                    std::to_string(w.mpi->size()) + " processes, and each is one worker");
  }
  o.workers = w.mpi->size();
}

fs::path make_directory(char const* flag, std::string const& name) {
  std::error_code error;
  fs::create_directories(name, error);
  if (error || !fs::is_directory(name))
    throw bad_input(std::string(flag) + " " + name + ": cannot be made a directory");
  return name;
}

// diloco refuses to mix the snapshots of two runs, too, but only at the first save.
void make_directory_for_snapshots(options const& o) {
  if (o.save.empty()) return;
  make_directory("--save", o.save);
  std::error_code none;
  if (!o.resume.empty() && fs::equivalent(o.save, o.resume, none)) return;
  for (char const* run : {"data-parallel", "diloco"})
    if (fs::exists(fs::path(o.save) / run))
      throw bad_input("--save " + o.save + ": holds snapshots; add --resume " + o.save +
                      ", or name another directory");
}

void introduce(options const& o, corpus const& text, split const& parts, std::size_t parameters) {
  std::size_t held_out = 0;
  for (chunk const& piece : parts.validation) held_out += piece.size();
  std::printf("text     %s: %s bytes in %zu file%s%s; %s of them held out\n", o.data.c_str(),
              grouped(double(text.text.size())).c_str(), text.files, text.files == 1 ? "" : "s",
              text.remark.c_str(), grouped(double(held_out)).c_str());
  std::printf("model    %s parameters: %d layers, width %d, %d heads, context %d\n",
              grouped(double(parameters)).c_str(), o.shape.layers, o.shape.width, o.shape.heads,
              o.shape.context);
  std::printf("workers  %d over %s, %d x %d bytes each: %zu tokens per step\n", o.workers,
              o.transport.c_str(), o.batch, o.shape.context, o.tokens_per_step());
  std::printf(
      "\n%d steps of warm-up by one worker (no bytes sent), then %d steps of each method from the same\n"
      "parameters, batches and learning rates; AdamW's moments start at zero in both. Gradients are clipped\n"
      "by each worker.\n\n",
      o.warm_up_steps, o.steps);
  std::fflush(stdout);
}

// A copy of `start` in this worker's memory.
std::unique_ptr<learner> make_learner(options const& o, model<float>& start, int worker) {
  if (o.device == "cuda") return device_learner(o.shape, o.batch, tensors_of(start), worker);
  return std::make_unique<host_learner>(o.shape, o.batch, start);
}

run warm_up(world const& w, options const& o, split const& parts, model<float>& start) {
  run result;
  run_alone([&](endpoint& here) {
    progress bar("warm-up", o.warm_up_steps, double(o.tokens_per_step()), w.display_of(w.rank));
    auto const mine = make_learner(o, start, w.rank);
    result = train(o, method::warm_up, parts, here, *mine, bar);
    mine->copy_to(tensors_of(start));
  });
  return result;
}

// Every worker starts from a copy of `start`. `trained` becomes that of rank 0 and stays empty on the others.
run compete(world& w, options const& o, method how, split const& parts, model<float>& start,
            std::unique_ptr<learner>& trained) {
  run result;
  w.run([&](endpoint& here) {
    auto mine = make_learner(o, start, here.rank());
    progress bar(how == method::diloco ? "DiLoCo" : "data-parallel", o.steps, double(o.tokens_per_step()),
                 w.display_of(here.rank()));
    run numbers = train(o, how, parts, here, *mine, bar);
    if (here.rank() != 0) return;
    result = std::move(numbers);
    trained = std::move(mine);
  });
  return result;
}

void conclude(options const& o, fs::path const& out, run const& warm, run const& parallel, run const& low,
              learner& trained, double seconds) {
  std::printf("\ndata-parallel: %s\nDiLoCo:        %s\n\n%s\n", parallel.recipe.c_str(), low.recipe.c_str(),
              table(parallel, low, o.link_mbit_per_second).c_str());
  std::printf("What the DiLoCo model writes after \"%s\":\n", printable(o.prompt).c_str());
  std::printf("----\n%s\n----\n\n",
              printable(generate(trained, o.prompt, o.sample_bytes, o.temperature, o.seed)).c_str());
  write_metrics(out / "metrics.jsonl", {&warm, &parallel, &low});
  write_summary(out / "summary.json", o, warm, parallel, low, seconds);
  std::string const missing = draw_picture(out, warm, parallel, low);
  if (!missing.empty()) std::printf("%s\n", missing.c_str());
  std::printf("%.0f s in all; %s holds metrics.jsonl, summary.json, loss.gnuplot%s\n", seconds,
              out.string().c_str(), missing.empty() ? ", loss.png" : "");
}

void compare(options const& o, world& w) {
  auto const begin = std::chrono::steady_clock::now();
  corpus const text = load_corpus(o.data);
  split const parts = split_text(text.text, o.data, o.workers, o.shape.context);
  make_directory_for_snapshots(o);
  fs::path const out = w.speaks() ? make_directory("--out", o.out) : fs::path();
  model<float> start(o.shape, o.batch, o.seed);
  if (w.speaks()) introduce(o, text, parts, start.size());
  run const warm = warm_up(w, o, parts, start);
  std::unique_ptr<learner> trained;
  run const parallel = compete(w, o, method::data_parallel, parts, start, trained);
  run const low = compete(w, o, method::diloco, parts, start, trained);
  std::chrono::duration<double> const seconds = std::chrono::steady_clock::now() - begin;
  if (w.speaks()) conclude(o, out, warm, parallel, low, *trained, seconds.count());
}

int complain(std::exception const& error, int rank, int code) {
  std::fflush(stdout);
  std::string const who = rank == 0 ? "" : "rank " + std::to_string(rank) + ": ";
  std::fprintf(stderr, "diloco_gpt: %s%s\n", who.c_str(), error.what());
  return code;
}

// Prints an error that every process of an mpirun has. Only the first process prints it.
int complain_once(bad_input const& error, world& w, options const& o, int& argc, char**& argv) {
  try {
    if (o.transport == "mpi" && !w.mpi) w.rank = w.mpi.emplace(argc, argv).rank();
  } catch (bad_input const&) {  // a build without MPI: then there is one process
  }
  return w.rank == 0 ? complain(error, 0, 2) : 2;
}

}  // namespace

int main(int argc, char** argv) {
  options o;
  world w;
  try {
    if (!parse(argc, argv, o)) return 0;
    if (o.transport == "mpi") join_mpi(w, o, argc, argv);
    w.workers = o.workers;
    executor_named(o.executor);  // both report errors now rather than after the warm-up
    if (o.device == "cuda") need_device();
  } catch (bad_input const& error) {
    return complain_once(error, w, o, argc, argv);
  }
  try {
    compare(o, w);
    return 0;
  } catch (bad_input const& error) {
    return complain(error, w.rank, 2);
  } catch (std::exception const& error) {
    complain(error, w.rank, 1);
    std::_Exit(1);  // peers may wait inside MPI; they notice an exit without MPI_Finalize
  }
}
