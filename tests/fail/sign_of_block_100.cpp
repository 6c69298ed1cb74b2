// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: sign: Block is 256 or 512
#include "../support/archetypes.hpp"

#include <diloco/compressor/sign.hpp>

diloco::sign<100> compressor;
