// SPDX-License-Identifier: Apache-2.0
// The remaining block compressors with tables, draws and rotations.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("the device gives the host's bits and bytes: tables and draws", W,
                          compressor_bits) {
  check_compressor<W>();
}
using rotated = hadamard<64, absmax<4, 128>>;
using two_scales = sign<512, sign_scale::two_means>;
using by_length = qsgd<8, 128, qsgd_norm::l2>;
using stochastic = natural<natural_rounding::stochastic>;
TEST_CASE_TEMPLATE_INVOKE(compressor_bits, with<lloyd_max<3>>, with<dynamic8<>>, with<two_scales>,
                          with<natural<>>, with<stochastic>, with<qsgd<4>>, with<by_length>, with<rotated>);

}  // namespace
