// SPDX-License-Identifier: Apache-2.0
// Saves every 25 steps and resumes. One run of 120 steps is never interrupted. Another is lost after step 90,
// and a third goes on from its newest snapshot, that of step 75. Both must end with the same bits.
#include <diloco/diloco.hpp>
#include <diloco/snapshot.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace {

constexpr int ranks = 2, tensors = 4, width = 5000, last_step = 120;

// Random numbers, in place of data. `position` is all that must be saved of it.
struct data_stream {
  std::uint64_t position;
  float next() { return static_cast<float>(diloco::mix64(7, ++position) >> 40) * 0x1p-24f - 0.5f; }
};

using model = std::vector<std::vector<float>>;

// Trains up to a step and returns the model of this rank.
model train(diloco::threads transport, std::string const& folder, int until) {
  int const rank = transport.rank();
  model values(tensors, std::vector<float>(width, 1.0f)), gradients = values;
  std::vector<diloco::tensor> parameters;
  for (auto& v : values) parameters.push_back({diloco::say({"w", parameters.size()}), {v.size()}, v.data()});
  diloco::DiLoCo trainer(
      diloco::recipe<>{}
          .with_compressor(diloco::absmax<4>{})
          .with_transport(std::move(transport))
          .with_schedule(diloco::streaming{.inner_steps = 20, .parts = 4, .delay = 3, .mix = 0.5f}),
      parameters);
  // [resume]
  data_stream data{static_cast<std::uint64_t>(rank) << 32};
  diloco::resumed const found = diloco::resume(trainer, folder, {.may_be_empty = true});
  if (found.user.size() == sizeof data) std::memcpy(&data, found.user.data(), sizeof data);
  for (std::string const& sentence : found.passed_over) std::puts(sentence.c_str());
  // [/resume]
  if (rank == 0) std::printf("from step %3llu to %3d\n", static_cast<unsigned long long>(found.steps), until);
  while (trainer.steps() < static_cast<std::uint64_t>(until)) {
    for (std::size_t t = 0; t < tensors; ++t) {
      for (std::size_t i = 0; i < width; ++i) gradients[t][i] = values[t][i] + data.next();
    }
    trainer.step(std::vector<std::span<float const>>(gradients.begin(), gradients.end()));
    // [save]
    if (trainer.steps() % 25 == 0)  // rounds may be under way
      diloco::save(trainer, folder, {.user = std::as_bytes(std::span(&data, 1))});
    // [/save]
  }
  if (until == last_step) trainer.sync();
  return values;
}

std::vector<model> run(std::filesystem::path const& folder, int until) {
  std::vector<model> of_ranks(ranks);
  diloco::run_threads(ranks, [&](diloco::threads t) {
    auto const rank = static_cast<std::size_t>(t.rank());
    of_ranks[rank] = train(std::move(t), folder.string(), until);
  });
  return of_ranks;
}

}  // namespace

int main() {
  std::string scratch = (std::filesystem::temp_directory_path() / "diloco-XXXXXX").string();
  if (mkdtemp(scratch.data()) == nullptr) return std::puts("no folder for snapshots"), 1;
  std::filesystem::path const here = scratch;
  auto const whole = run(here / "whole", last_step);
  run(here / "lost", 90);  // its trainers are gone, and the steps after 75 with them
  auto const resumed = run(here / "lost", last_step);
  std::filesystem::remove_all(here);
  bool const same = whole == resumed && whole[0] == whole[1];
  std::printf("%s\n", same ? "the resumed run ends with the bits of the whole run" : "the bits differ");
  return same ? 0 : 1;
}
