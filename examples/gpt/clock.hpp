// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <time.h>

namespace gpt {

inline double clock_seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
inline double wall_seconds() { return clock_seconds(CLOCK_MONOTONIC); }
inline double processor_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace gpt
