// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: a block must be a multiple of the lanes' width
#include "../support/archetypes.hpp"

struct five_lanes : diloco::solo {
  static constexpr int width = 5;
};

diloco::lane_block<five_lanes, 64> part_of_a_block;
