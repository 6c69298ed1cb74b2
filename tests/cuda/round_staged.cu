// SPDX-License-Identifier: Apache-2.0
// The remaining staged compressors.
#include "round.cuh"

namespace {

using namespace cuda_round;

TEST_CASE_TEMPLATE_DEFINE("the device gives the host's bits and bytes: stages", W, compressor_bits) {
  check_compressor<W>();
}
using halves = top_k<64, kept_as::f16>;
using symmetric = statistical<4, buckets::symmetric>;
TEST_CASE_TEMPLATE_INVOKE(compressor_bits, with<halves, averaged_error>, with<dct_top_k<32>>,
                          with<statistical<16>>, with<statistical<256>, ef21>, with<symmetric>,
                          with<low_rank<2, factors::common>, mean_error_feedback>);

}  // namespace
