// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <charconv>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// What a launcher promised in an environment variable: the world has at least `size` ranks.
struct launch_promise {
  char const* variable = nullptr;
  int value = 0;
  int size = 0;
};

/// The number in a variable, if it is an integer that is not negative.
inline std::optional<int> number_in(char const* variable) {
  char const* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  std::string_view const all(text);
  int number = 0;
  auto const [end, code] = std::from_chars(all.data(), all.data() + all.size(), number);
  if (code != std::errc() || end != all.data() + all.size() || number < 0) return std::nullopt;
  return number;
}

/// The promise of the first variable of `sizes` that is set. If none is, rank r promises r + 1 ranks.
inline std::optional<launch_promise> promise_of(std::initializer_list<char const*> sizes, char const* rank) {
  for (char const* const name : sizes) {
    if (auto const n = number_in(name); n && *n > 0) return launch_promise{name, *n, *n};
  }
  if (auto const r = number_in(rank); r && *r > 0) return launch_promise{rank, *r, *r + 1};
  return std::nullopt;
}

/// Slurm sets SLURM_NTASKS in every shell of a job, and in the batch script also SLURM_PROCID = 0. Only a
/// process of a job step is one of SLURM_NTASKS.
inline std::optional<launch_promise> promise_of_slurm() {
  if (!number_in("SLURM_PROCID")) return std::nullopt;
  char const* const environment = std::getenv("ENVIRONMENT");
  bool const batch = environment != nullptr && std::string_view(environment) == "BATCH";
  if (batch && std::getenv("SLURM_STEP_ID") == nullptr)
    return promise_of({"SLURM_STEP_NUM_TASKS"}, "SLURM_PROCID");
  return promise_of({"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"}, "SLURM_PROCID");
}

/// The promise of an MPI launcher, or nothing if none started this process. Launchers nest: mpirun may run
/// within a Slurm step. So the inner kinds come first, and the first one found counts.
/// `torch`: whether torchrun's WORLD_SIZE counts. Without RANK or LOCAL_RANK any program may have set it.
inline std::optional<launch_promise> promise_of_launchers(bool torch) {
  if (auto const p = promise_of({"OMPI_COMM_WORLD_SIZE"}, "OMPI_COMM_WORLD_RANK")) return p;
  if (auto const p = promise_of({"MV2_COMM_WORLD_SIZE"}, "MV2_COMM_WORLD_RANK")) return p;
  if (auto const p = promise_of({"MVP_COMM_WORLD_SIZE"}, "MVP_COMM_WORLD_RANK")) return p;  // MVAPICH 3
  if (auto const p = promise_of({"PMI_SIZE"}, "PMI_RANK"))
    return p;  // MPICH's Hydra, Intel MPI, PMI-2 of Slurm
  if (auto const p = promise_of({"PMIX_SIZE"}, "PMIX_RANK")) return p;
  if (torch && (number_in("RANK") || number_in("LOCAL_RANK"))) {
    if (auto const p = promise_of({"WORLD_SIZE"}, "RANK")) return p;
  }
  return promise_of_slurm();
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
