// SPDX-License-Identifier: Apache-2.0
// An executor picked at run time: a policy of one's own is as good as the library's.
#pragma once

#include "bad_input.hpp"

#include <diloco/executor/host.hpp>
#if defined(DILOCO_HAS_OMP)
#include <diloco/executor/omp.hpp>
#endif
#if defined(DILOCO_HAS_TBB)
#include <diloco/executor/tbb.hpp>
#endif

namespace gpt {

struct chosen_executor : diloco::cpp {
  enum class kind { cpp, omp, tbb } choice = kind::cpp;

  template <class Kernel> void for_each(std::size_t n, Kernel const& kernel) const {
#if defined(DILOCO_HAS_OMP)
    if (choice == kind::omp) return diloco::omp{}.for_each(n, kernel);
#endif
#if defined(DILOCO_HAS_TBB)
    if (choice == kind::tbb) return diloco::tbb{}.for_each(n, kernel);
#endif
    diloco::cpp::for_each(n, kernel);
  }
};

inline chosen_executor executor_named(std::string const& name) {
  chosen_executor e;
#if defined(DILOCO_HAS_OMP)
  if (name == "omp") e.choice = chosen_executor::kind::omp;
#endif
#if defined(DILOCO_HAS_TBB)
  if (name == "tbb") e.choice = chosen_executor::kind::tbb;
#endif
  if (name != "cpp" && e.choice == chosen_executor::kind::cpp)
    throw bad_input("--executor " + name + ": this program was built without it");
  return e;
}

}  // namespace gpt
