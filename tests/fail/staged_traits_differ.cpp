// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: its traits and its members differ; .scratch stands for scratch_bytes,
#include <diloco/diloco.hpp>

// A member that the traits do not name would silently be left out.
struct forgetful : diloco::top_k<8> {
  static constexpr diloco::compressor_traits traits{.rereads = 0};
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(diloco::alone{}).with_compressor(forgetful{}),
                         parameters);
}
