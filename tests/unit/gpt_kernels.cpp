// SPDX-License-Identifier: Apache-2.0
// Compares the example's kernels with its host layers, whose gradients unit.gpt_gradient checks by finite
// differences. Losses and gradients must match on one lane and on 32. The lanes are threads.
#include "eigen_products.hpp"
#include "kernel_learner.hpp"

#include "support/gpt_problem.hpp"
#include "support/thread_lanes.hpp"

namespace {

using namespace gpt_problem;

template <class Executor>
struct kernels : kernel_learner<Executor, eigen_products> {
  explicit kernels(problem& p)
      : kernel_learner<Executor, eigen_products>({}, {}, shape, sequences, tensors_of(p.start)) {}
};

}  // namespace

TEST_CASE("the kernels give the host layers' losses, gradients and predictions") {
  problem p;
  host_learner host(shape, sequences, p.start);
  kernels<diloco::cpp> mine(p);
  check_close(of(mine, p), of(host, p), host.tensors());
}

TEST_CASE("32 lanes give one lane's bits") {
  problem p;
  kernels<diloco::cpp> alone(p);
  kernels<lane_threads> together(p);
  CHECK(of(together, p) == of(alone, p));
}

TEST_CASE("weights come back as they went, also after many batches") {
  problem p;
  kernels<diloco::cpp> mine(p);
  // twice through the ring of batches in flight
  for (int i = 0; i < 130; ++i) mine.validate(p.tokens, p.targets);
  double const many = mine.take_validation_loss();
  mine.validate(p.tokens, p.targets);
  CHECK(many == doctest::Approx(130 * mine.take_validation_loss()).epsilon(1e-12));
  check_copies_back(mine, p);
}
