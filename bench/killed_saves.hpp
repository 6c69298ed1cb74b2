// SPDX-License-Identifier: Apache-2.0
// SIGKILL during saves. A process with two ranks resumes, and saves after each step until it is killed. Then
// another process resumes. It compares the tensors of both ranks with those of a run without kills.
#pragma once

#include <diloco/diloco.hpp>
#include <diloco/snapshot.hpp>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>

namespace bench {

class killed_run {
  static constexpr int ranks = 2, tensors = 4, width = 30000, last_step = 100;
  /// What all processes see.
  struct shared {
    std::atomic<int> saving;        // ranks inside of save()
    std::atomic<int> saved[ranks];  // step of the last save() that returned
    std::atomic<int> found;         // step that the last resume() found
    std::uint64_t digest[last_step + 1][ranks];
  };

 public:
  explicit killed_run(std::string folder) : folder_(std::move(folder)) {
    void* const at =
        ::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) std::abort();
    shared_ = new (at) shared{};
    wait_for(start([&] { return note_digests(); }));
    begin_anew();
  }
  killed_run(killed_run const&) = delete;
  ~killed_run() { begin_anew(); }

  void begin_anew() {
    std::filesystem::remove_all(folder_);
    for (auto& s : shared_->saved) s = 0;
  }
  /// Whether the kill hit a save.
  bool live_for(unsigned microseconds) {
    shared_->saving = 0;
    pid_t const child = start([&] { return resume_step_and_save(); });
    ::usleep(microseconds);
    ::kill(child, SIGKILL);
    return WIFSIGNALED(wait_for(child)) && shared_->saving != 0;
  }
  /// Whether the run can go on from its last save or a later one, with the right bits.
  bool goes_on() {
    shared_->found = -1;
    int const status = wait_for(start([&] { return resume_and_compare(); }));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
           shared_->found >= std::min<int>(shared_->saved[0], shared_->saved[1]);
  }
  [[nodiscard]] int steps() const { return shared_->found; }
  [[nodiscard]] static constexpr int last() { return last_step; }

 private:
  /// Runs `body` in a process of its own, which ends with 0 if it returns true.
  static pid_t start(auto&& body) {
    std::fflush(stdout);
    pid_t const child = ::fork();
    if (child != 0) return child;
    bool fine = false;
    try {
      fine = body();
    } catch (std::exception const& e) {
      std::printf("%s\n", e.what());
    }
    std::fflush(stdout);
    ::_exit(fine ? 0 : 1);
  }
  static int wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return status;
  }

  struct rank_of_run {
    using trainer_type =
        diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::absmax<4>, diloco::threads,
                       diloco::error_feedback, diloco::weighted_mean, diloco::automatic, diloco::streaming>;
    std::vector<std::vector<float>> values{tensors, std::vector<float>(width, 1.0f)}, gradients = values;
    std::vector<diloco::tensor> parameters;
    trainer_type trainer;
    int rank;

    explicit rank_of_run(diloco::threads t)
        : parameters(list(values)),
          trainer({.transport = std::move(t),
                   .schedule = {.inner_steps = 4, .parts = 2, .delay = 1, .mix = 0.5f}},
                  parameters),
          rank(trainer.transport().rank()) {}
    static std::vector<diloco::tensor> list(std::vector<std::vector<float>>& values) {
      std::vector<diloco::tensor> all;
      for (auto& v : values) all.push_back({diloco::say({"w", all.size()}), {v.size()}, v.data()});
      return all;
    }
    int steps() const { return static_cast<int>(trainer.steps()); }
    void step() {
      for (std::size_t t = 0; t < tensors; ++t) {
        for (std::size_t i = 0; i < width; ++i)
          gradients[t][i] =
              values[t][i] + static_cast<float>((i + trainer.steps()) % 7) - static_cast<float>(rank);
      }
      trainer.step(std::vector<std::span<float const>>(gradients.begin(), gradients.end()));
    }
    std::uint64_t digest() const {
      std::uint64_t all = 0;
      for (auto const& v : values) all = diloco::mix64(all, diloco::digest_of(v.data(), v.size()));
      return all;
    }
  };

  static void on_each_rank(auto&& body) {
    diloco::run_threads(ranks, [&](diloco::threads t) {
      rank_of_run run(std::move(t));
      body(run);
    });
  }
  bool note_digests() {
    on_each_rank([&](rank_of_run& run) {
      for (;; run.step()) {
        shared_->digest[run.steps()][run.rank] = run.digest();
        if (run.steps() == last_step) break;
      }
    });
    return true;
  }
  bool resume_step_and_save() {
    on_each_rank([&](rank_of_run& run) {
      static_cast<void>(diloco::resume(run.trainer, folder_, {.may_be_empty = true}));
      while (run.steps() < last_step) {
        run.step();
        ++shared_->saving;
        diloco::save(run.trainer, folder_);
        shared_->saved[run.rank] = run.steps();
        --shared_->saving;
      }
    });
    return true;
  }
  bool resume_and_compare() {
    std::atomic<bool> right = true;
    on_each_rank([&](rank_of_run& run) {
      diloco::resumed const found = diloco::resume(run.trainer, folder_, {.may_be_empty = true});
      if (run.digest() != shared_->digest[run.steps()][run.rank] || !found.passed_over.empty()) right = false;
      shared_->found = run.steps();
    });
    return right;
  }

  std::string folder_;
  shared* shared_;
};

/// Kills that hit a save: `wanted` in a folder with snapshots, and a tenth as many in a folder without any.
inline int kill_saves(int wanted) {
  killed_run run("killed-saves");
  std::uint64_t chance = 1;
  auto const between = [&](unsigned least, unsigned most) {
    chance = diloco::mix64(chance, 7);
    return least + static_cast<unsigned>(chance >> 40) % (most - least);
  };
  int kills = 0, good = 0;
  for (int steps = killed_run::last(); kills < wanted;) {
    if (steps > killed_run::last() - 20) {
      run.begin_anew();
      run.live_for(500'000);  // leaves several snapshots
    }
    bool const hit = run.live_for(between(15'000, 75'000)), fine = run.goes_on();
    kills += hit || !fine ? 1 : 0;
    good += hit && fine ? 1 : 0;
    steps = fine ? run.steps() : killed_run::last();
  }
  std::printf("%d processes killed during a save: %d runs go on, bit for bit\n", kills, good);
  int first = 0, good_first = 0;
  while (first < (wanted + 9) / 10) {
    run.begin_anew();
    bool const hit = run.live_for(between(3'000, 18'000)), fine = run.goes_on();
    if (!hit || run.steps() > 0) continue;
    first += 1;
    good_first += fine ? 1 : 0;
  }
  std::printf("%d processes killed during the first save of a folder: %d runs begin\n", first, good_first);
  return kills == good && first == good_first ? 0 : 1;
}

}  // namespace bench
