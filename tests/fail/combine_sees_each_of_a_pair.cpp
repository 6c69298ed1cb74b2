// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: needs individual contributions of all ranks, and here two meet
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::adamw, diloco::noloco, diloco::absmax<4>, diloco::threads, diloco::error_feedback,
               diloco::trimmed_mean, diloco::gossip>* trainer = nullptr;
auto rounds = trainer->rounds();
