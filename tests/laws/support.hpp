// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/executors.hpp"

#if DILOCO_HAS_OMP
#include <diloco/executor/omp.hpp>
#endif
#if DILOCO_HAS_TBB
#include <diloco/executor/tbb.hpp>
#endif

#include <doctest/doctest.h>

#include "../support/pinned.hpp"

#include <cmath>
#include <vector>

namespace laws {

/// Reproducible numbers that are the same on every compiler and libm: a linear congruence, mapped exactly to
/// (−1, 1).
class numbers {
 public:
  explicit numbers(std::uint64_t seed = 1) : state_(seed * 2862933555777941757ull + 3037000493ull) {}
  float next() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<float>(static_cast<std::int32_t>(state_ >> 32) >> 8) * 0x1p-23f;
  }
  /// Sum of three numbers. It is close enough to a Gaussian for the error bounds of scaled formats.
  float bell() { return (next() + next()) + next(); }
  std::vector<float> many(std::size_t n, float scale = 1.0f) {
    std::vector<float> v(n);
    for (float& x : v) x = scale * bell();
    return v;
  }

 private:
  std::uint64_t state_;
};

inline std::uint64_t digest(std::vector<float> const& v) { return pinned_digest(v); }

using support::main_executor;

#if DILOCO_TEST_ON_DEVICE
/// Calls f with the device. The host executors have their own builds.
template <class F>
void on_each_executor(F&& f) {
  f(main_executor{});
}
#else
/// The host executors of this build behind one type. A law over all of them compiles one trainer, and each
/// sweep once per executor. laws/system.cpp uses the executors' own types.
struct chosen_executor : diloco::cpp {
  enum class kind { cpp, omp, tbb };
  kind choice;
  explicit chosen_executor(kind k = kind::cpp) : choice(k) {}

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
#if DILOCO_HAS_OMP && !DILOCO_TEST_ONE_EXECUTOR
    if (choice == kind::omp) return diloco::omp{}.for_each(n, kernel);
#endif
#if DILOCO_HAS_TBB && !DILOCO_TEST_ONE_EXECUTOR
    if (choice == kind::tbb) return diloco::tbb{}.for_each(n, kernel);
#endif
    diloco::cpp::for_each(n, kernel);
  }
};

/// Calls f with each host executor of this build.
template <class F>
void on_each_executor(F&& f) {
  f(chosen_executor(chosen_executor::kind::cpp));
#if DILOCO_HAS_OMP && !DILOCO_TEST_ONE_EXECUTOR
  f(chosen_executor(chosen_executor::kind::omp));
#endif
#if DILOCO_HAS_TBB && !DILOCO_TEST_ONE_EXECUTOR
  f(chosen_executor(chosen_executor::kind::tbb));
#endif
}
#endif

/// A trainer of exactly these policies, over any transport.
template <class Inner, class Outer, class Compressor, class Transport, class Executor = main_executor,
          class Schedule = diloco::manual, class Exchange = diloco::automatic>
using trainer_of = diloco::DiLoCo<Inner, Outer, Compressor, Transport, diloco::error_feedback,
                                  diloco::weighted_mean, Exchange, Schedule, Executor, diloco::silent>;

inline std::vector<diloco::tensor> one_tensor(std::vector<float>& v) { return {{"w", {v.size()}, v.data()}}; }

}  // namespace laws
