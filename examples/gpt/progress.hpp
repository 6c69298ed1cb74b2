// SPDX-License-Identifier: Apache-2.0
// A progress bar on a terminal, a line now and then elsewhere. Debian packages no library for this.
#pragma once

#include <chrono>
#include <string>

namespace gpt {

class progress {
 public:
  // `steps` of `tokens_per_step`; a silent one prints nothing (all ranks but the first have one).
  progress(std::string title, int steps, double tokens_per_step, bool silent);

  void update(int step, double loss);
  void finish(double loss);  // leaves the last state on a line of its own

 private:
  using clock = std::chrono::steady_clock;
  std::string line(int step, double loss, int columns) const;

  std::string title_;
  int steps_;
  double tokens_per_step_;
  bool silent_, terminal_;
  clock::time_point start_ = clock::now(), shown_ = start_;
};

}  // namespace gpt
