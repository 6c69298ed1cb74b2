// SPDX-License-Identifier: Apache-2.0
// The remaining element optimizers.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("optimizers in both roles: the others", O, optimizer_bits) { check_optimizer<O>(); }
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, plain_sgd, nesterov, adam, sign_sgd, signum, heavy_ball, lookahead,
                          slowmo, bmuf);
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, delayed_nesterov, fedadam, fedyogi, fedadagrad,
                          schedule_free_adamw);

TEST_CASE("an outer optimizer that wants the mean anchor, and an inner one of whole tensors") {
  CHECK(digests<cuda_stream, adamw8bit<>, noloco, f32>() == digests<cpp, adamw8bit<>, noloco, f32>());
}

TEST_CASE("samples, and a mean that weighs elements by what their worker knows") {
  CHECK(digests<cuda_stream, ivon, nesterov, absmax<8>, error_feedback, precision_weighted>() ==
        digests<cpp, ivon, nesterov, absmax<8>, error_feedback, precision_weighted>());
}

}  // namespace
