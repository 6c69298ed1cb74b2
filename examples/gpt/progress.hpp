// SPDX-License-Identifier: Apache-2.0
// A progress bar on a terminal; elsewhere an occasional line. Debian packages no library for this.
#pragma once

#include <chrono>
#include <string>

namespace gpt {

enum class display { nothing, lines, bar };

// A bar if stdout is a terminal. A launcher like mpirun inserts its own terminal of unknown width, wherever
// its output goes. Then lines are printed.
display suitable_display(bool launched);

class progress {
 public:
  progress(std::string title, int steps, double tokens_per_step, display how);

  void begin_after(int step);  // of a run that resumes
  void update(int step, double loss);
  void finish(double loss);  // leaves the last state on its own line

 private:
  using clock = std::chrono::steady_clock;
  void show(int step, double loss) const;
  std::string line(int step, double loss, int columns) const;

  std::string title_;
  int steps_, first_ = 0;
  double tokens_per_step_;
  display how_;
  clock::time_point start_ = clock::now(), shown_ = start_;
};

}  // namespace gpt
