// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: rate: the inner optimizer is external, so the framework sets its own learning rate
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::external, diloco::nesterov, diloco::f32, diloco::alone, diloco::error_feedback,
               diloco::weighted_mean, diloco::automatic, diloco::every, diloco::cpp, diloco::silent,
               diloco::warmup_cosine>* trainer = nullptr;
auto rounds = trainer->rounds();
