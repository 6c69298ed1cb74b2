// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: compressor: Block must be a multiple of 256 over the bits of a code
#include "../support/archetypes.hpp"

#include <diloco/compressor/absmax.hpp>

diloco::absmax<8, 100> compressor;
