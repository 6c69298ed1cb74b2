// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: absmax: Bits is 8, 4 or 2
#include "../support/archetypes.hpp"

#include <diloco/compressor/absmax.hpp>

diloco::absmax<5> compressor;
