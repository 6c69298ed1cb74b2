// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace gpt {

namespace {

// Columns of the terminal, or 0 if unknown.
int terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

std::string clock_text(double seconds) {
  char text[32];
  long const whole = static_cast<long>(seconds + 0.5);
  std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

}  // namespace

display suitable_display(bool launched) {
  bool const terminal = isatty(STDOUT_FILENO) != 0;
  return terminal && (!launched || terminal_columns() > 0) ? display::bar : display::lines;
}

progress::progress(std::string title, int steps, double tokens_per_step, display how)
    : title_(std::move(title)), steps_(steps), tokens_per_step_(tokens_per_step), how_(how) {}

std::string progress::line(int step, double loss, int columns) const {
  double const seconds = std::chrono::duration<double>(clock::now() - start_).count();
  int const taken = step - first_;
  double const left = taken > 0 ? seconds / taken * (steps_ - step) : 0;
  char numbers[128];
  std::snprintf(numbers, sizeof numbers, " %*d/%d  loss %.3f  %.1fk tokens/s  ETA %s",
                static_cast<int>(std::to_string(steps_).size()), step, steps_, loss,
                seconds > 0 ? taken * tokens_per_step_ / seconds / 1000 : 0.0, clock_text(left).c_str());
  std::string text = title_;
  text.resize(std::max<std::size_t>(text.size() + 1, 14), ' ');
  int const room = columns - static_cast<int>(text.size() + std::string(numbers).size()) - 3;
  if (room >= 8) {
    int const width = std::min(room, 32), done = width * step / std::max(steps_, 1);
    text.append("[")
        .append(static_cast<std::size_t>(done), '#')
        .append(static_cast<std::size_t>(width - done), '.');
    text.append("]");
  }
  return text + numbers;
}

void progress::begin_after(int step) {
  first_ = step;
  start_ = shown_ = clock::now();
}

void progress::update(int step, double loss) {
  auto const now = clock::now();
  auto const pause = how_ == display::bar ? std::chrono::milliseconds(100) : std::chrono::milliseconds(5000);
  if (now - shown_ < pause) return;
  shown_ = now;
  show(step, loss);
}

void progress::finish(double loss) {
  show(steps_, loss);
  if (how_ == display::bar) std::puts("");
}

void progress::show(int step, double loss) const {
  if (how_ == display::nothing) return;
  if (how_ == display::bar) {
    int const columns = terminal_columns();
    std::printf("\r%s\033[K", line(step, loss, columns > 0 ? columns : 80).c_str());
  } else {
    std::puts(line(step, loss, 0).c_str());
  }
  std::fflush(stdout);
}

}  // namespace gpt
