// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: absmax: Block is a multiple of 32
#include "../support/archetypes.hpp"

#include <diloco/compressor/absmax.hpp>

diloco::absmax<8, 100> compressor;
