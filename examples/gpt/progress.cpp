// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace gpt {

namespace {

int terminal_columns() {
  winsize size{};
  bool const known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

std::string clock_text(double seconds) {
  char text[32];
  long const whole = static_cast<long>(seconds + 0.5);
  std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

}  // namespace

progress::progress(std::string title, int steps, double tokens_per_step, bool silent) :
    title_(std::move(title)), steps_(steps), tokens_per_step_(tokens_per_step), silent_(silent),
    terminal_(isatty(STDOUT_FILENO) != 0) {}

std::string progress::line(int step, double loss, int columns) const {
  double const seconds = std::chrono::duration<double>(clock::now() - start_).count();
  double const left = step > 0 ? seconds / step * (steps_ - step) : 0;
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, " %*d/%d  loss %.3f  %.1fk tokens/s  ETA %s",
                static_cast<int>(std::to_string(steps_).size()), step, steps_, loss,
                seconds > 0 ? step * tokens_per_step_ / seconds / 1000 : 0.0, clock_text(left).c_str());
  std::string text = title_;
  text.resize(std::max<std::size_t>(text.size() + 1, 14), ' ');
  int const room = columns - static_cast<int>(text.size() + std::string(numbers).size()) - 3;
  if (terminal_ && room >= 8) {
    int const width = std::min(room, 32), done = static_cast<int>(static_cast<double>(width) * step / steps_);
    text.append("[").append(static_cast<std::size_t>(done), '#').append(static_cast<std::size_t>(width - done), '.');
    text.append("]");
  }
  return text + numbers;
}

void progress::update(int step, double loss) {
  if (silent_) return;
  auto const now = clock::now();
  bool const due = terminal_ ? now - shown_ >= std::chrono::milliseconds(100)
                             : now - shown_ >= std::chrono::seconds(5);
  if (!due) return;
  shown_ = now;
  std::printf(terminal_ ? "\r%s\033[K" : "%s\n", line(step, loss, terminal_columns()).c_str());
  std::fflush(stdout);
}

void progress::finish(double loss) {
  if (silent_) return;
  std::printf(terminal_ ? "\r%s\033[K\n" : "%s\n", line(steps_, loss, terminal_columns()).c_str());
  std::fflush(stdout);
}

}  // namespace gpt
