// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: outer: follows a rate whose bits differ between machines
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::adamw, diloco::scheduled<diloco::nesterov, diloco::warmup_cosine>, diloco::f32,
               diloco::alone>* trainer = nullptr;
auto rounds = trainer->rounds();
