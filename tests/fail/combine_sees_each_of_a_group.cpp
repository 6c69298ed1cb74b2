// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: needs individual contributions of all ranks, and here groups combine first
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::absmax<4>, diloco::threads, diloco::error_feedback,
               diloco::trimmed_mean, diloco::two_level<>>* trainer = nullptr;
auto rounds = trainer->rounds();
