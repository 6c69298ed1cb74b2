// SPDX-License-Identifier: Apache-2.0
// Every other element optimizer.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("optimizers in both roles: the others", O, optimizer_bits) { check_optimizer<O>(); }
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, plain_sgd, nesterov, adam, sign_sgd, signum, heavy_ball, lookahead, slowmo,
                          bmuf);
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, delayed_nesterov, fedadam, fedyogi, fedadagrad, schedule_free_adamw);

}  // namespace
