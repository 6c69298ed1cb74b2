// SPDX-License-Identifier: Apache-2.0
// Policies chosen at run time, where one type for all choices costs nothing. The program then compiles in a
// third of the time. Your own policy works as well as the library's.
#pragma once

#include "bad_input.hpp"

#include <diloco/exchange/exchange.hpp>
#include <diloco/executor/host.hpp>
#if defined(DILOCO_HAS_OMP)
#include <diloco/executor/omp.hpp>
#endif
#if defined(DILOCO_HAS_TBB)
#include <diloco/executor/tbb.hpp>
#endif

namespace gpt {

struct chosen_exchange {
  enum class kind { automatic, gather, scatter_gather } choice = kind::automatic;

  static constexpr std::string_view name = "chosen_exchange";
  static constexpr diloco::same_compressor second{};
  diloco::leg_list legs(int ranks) const {
    if (choice == kind::gather) return diloco::gather{}.legs(ranks);
    if (choice == kind::scatter_gather) return diloco::scatter_gather{}.legs(ranks);
    return diloco::automatic{}.legs(ranks);
  }
  friend bool operator==(chosen_exchange const&, chosen_exchange const&) = default;
};

inline chosen_exchange exchange_named(std::string const& name) {
  using kind = chosen_exchange::kind;
  return {name == "gather"           ? kind::gather
          : name == "scatter_gather" ? kind::scatter_gather
                                     : kind::automatic};
}

struct chosen_executor : diloco::cpp {
  enum class kind { cpp, omp, tbb } choice = kind::cpp;

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
#if defined(DILOCO_HAS_OMP)
    if (choice == kind::omp) return diloco::omp{}.for_each(n, kernel);
#endif
#if defined(DILOCO_HAS_TBB)
    if (choice == kind::tbb) return diloco::tbb{}.for_each(n, kernel);
#endif
    diloco::cpp::for_each(n, kernel);
  }
};

// Throws bad_input if this build does not have the executor.
inline chosen_executor executor_named(std::string const& name) {
  chosen_executor e;
#if defined(DILOCO_HAS_OMP)
  if (name == "omp") e.choice = chosen_executor::kind::omp;
#endif
#if defined(DILOCO_HAS_TBB)
  if (name == "tbb") e.choice = chosen_executor::kind::tbb;
#endif
  if (name != "cpp" && e.choice == chosen_executor::kind::cpp)
    throw bad_input("--executor " + name +
                    ": not in this build; configure with -DDILOCO_GPT_EXECUTORS=" + name);
  return e;
}

}  // namespace gpt
