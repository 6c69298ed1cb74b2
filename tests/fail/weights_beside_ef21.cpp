// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: weighs elements, and the feedback keeps a mean of what all said in other units
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::ivon, diloco::nesterov, diloco::absmax<4>, diloco::alone, diloco::ef21,
               diloco::precision_weighted>* trainer = nullptr;
auto rounds = trainer->rounds();
