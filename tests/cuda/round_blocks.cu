// SPDX-License-Identifier: Apache-2.0
// The remaining block compressors to narrower floats and integers.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("the device gives the host's bits and bytes: blocks", W, compressor_bits) {
  check_compressor<W>();
}
TEST_CASE_TEMPLATE_INVOKE(compressor_bits, with<f16>, with<bf16>, with<scaled_f16<>>, with<absmax<8>>,
                          with<absmax<4>>, with<absmax<2>, no_feedback>, with<min_max<8>>, with<e4m3<>>,
                          with<e5m2<>>, with<e3m0<>>, with<mxfp8>, with<mxfp6>, with<mxfp4>);

}  // namespace
