// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/diloco.hpp>
#if defined(DILOCO_HAS_MPI)
#include <diloco/transport/mpi.hpp>
#endif
#if defined(DILOCO_HAS_OMP)
#include <diloco/executor/omp.hpp>
#endif
#if defined(DILOCO_HAS_TBB)
#include <diloco/executor/tbb.hpp>
#endif
#if defined(DILOCO_HAS_EIGEN)
#include <diloco/linear_algebra/eigen.hpp>
#endif
#if defined(DILOCO_HAS_NCCL)
#include <diloco/transport/nccl.hpp>
#endif

#include <string>
#include <vector>

inline std::string describe_a_trainer() {
  std::vector<float> weights(10, 1.0f);
  std::vector<diloco::tensor> const parameters{{"weights", {10}, weights.data()}};
  return diloco::DiLoCo(diloco::recipe{.transport = diloco::alone{}}, parameters).describe();
}

std::string describe_in_another_file();
