// SPDX-License-Identifier: Apache-2.0
// save() against `dd conv=fsync` of as many bytes into the same folder, in turns. resume(). The memory that
// both take at most, beside the trainer's. Writes into snapshot-bench in the current folder.
//   bench_snapshot --kill-saves=1000    kills processes while they save; counts the runs that go on
#include <diloco/diloco.hpp>
#include <diloco/snapshot.hpp>

#include "killed_saves.hpp"
#include "triad.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace {

using namespace diloco;
namespace fs = std::filesystem;

constexpr std::size_t tensors = 16;
constexpr double bytes_per_parameter = 24;  // θ, anchor, residual, outer momentum, m, v

/// One rank with `size` parameters, after one step and one round.
struct lone {
  std::vector<std::vector<float>> values;
  std::vector<tensor> parameters;
  DiLoCo<adamw, nesterov, absmax<4>, alone> trainer;

  explicit lone(std::size_t size)
      : values(tensors, std::vector<float>(size / tensors, 0.5f)),
        parameters(tensors_of(values)),
        trainer({.transport = alone{}, .schedule = every(1)}, parameters) {
    trainer.step(std::vector<std::span<float const>>(values.begin(), values.end()));
  }
  static std::vector<tensor> tensors_of(std::vector<std::vector<float>>& values) {
    std::vector<tensor> all;
    for (auto& v : values) all.push_back({say({"w", all.size()}), {v.size()}, v.data()});
    return all;
  }
};

/// A line of /proc/self/status in MiB. "VmHWM" is the most memory since reset_peak().
double memory_mib(std::string const& line) {
  std::ifstream status("/proc/self/status");
  for (std::string text; std::getline(status, text);) {
    if (text.starts_with(line + ":")) return std::stod(text.substr(line.size() + 1)) / 1024;
  }
  return 0;
}
void reset_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

/// Memory that `work` takes at most, beside what is resident before.
double extra_mib(auto&& work) {
  reset_peak();
  double const before = memory_mib("VmRSS");
  work();
  return memory_mib("VmHWM") - before;
}

void save_against_dd(benchmark::State& state) {
  double const mib = static_cast<double>(state.range(0));
  lone run(static_cast<std::size_t>(mib * 0x1p20 / bytes_per_parameter));
  fs::path const folder = fs::current_path() / "snapshot-bench";
  fs::remove_all(folder);
  fs::create_directory(folder);
  std::string const dd =
      say({"dd if=/dev/zero of='", (folder / "dd").string(),
           "' bs=1M count=", static_cast<std::size_t>(state.range(0)), " conv=fsync 2>/dev/null"});
  double save_extra = 0;
  std::vector<double> saves, dds, ratios, resumes;
  bool fine = true;
  for (auto _ : state) {
    // Neither writes over a file that is there.
    fs::remove(folder / "dd");
    fs::remove_all(folder / "of run");
    dds.push_back(bench::seconds_of([&] { fine = std::system(dd.c_str()) == 0 && fine; }));
    double seconds = 0;
    double const extra =
        extra_mib([&] { seconds = bench::seconds_of([&] { save(run.trainer, folder / "of run"); }); });
    saves.push_back(seconds);
    save_extra = std::max(save_extra, extra);
    ratios.push_back(100 * dds.back() / saves.back());
    state.SetIterationTime(seconds);
  }
  double const resume_extra = extra_mib(
      [&] { resumes.push_back(bench::seconds_of([&] { resume(run.trainer, folder / "of run"); })); });
  fs::remove_all(folder);
  if (!fine) return state.SkipWithError("dd failed");
  state.counters["MB/s"] = mib * 1.048576 / bench::median(saves);
  state.counters["dd MB/s"] = mib * 1.048576 / bench::median(dds);
  state.counters["%dd"] = bench::median(ratios);
  state.counters["resume MB/s"] = mib * 1.048576 / resumes[0];
  state.counters["save extra MiB"] = save_extra;
  state.counters["resume extra MiB"] = resume_extra;
}

}  // namespace

int main(int argc, char** argv) {
  std::string const kills = "--kill-saves=";
  if (argc == 2 && std::string_view(argv[1]).starts_with(kills))
    return bench::kill_saves(std::atoi(argv[1] + kills.size()));
  for (int mib : {4, 256})
    benchmark::RegisterBenchmark("save/absmax4/MiB", save_against_dd)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Arg(mib);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
