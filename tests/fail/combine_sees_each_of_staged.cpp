// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: combine: needs individual contributions block by block
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::low_rank<4>, diloco::threads, diloco::error_feedback,
               diloco::trimmed_mean>* trainer = nullptr;
auto rounds = trainer->rounds();
