// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: signal: is made of the gradient, and an inner optimizer would use that up first
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone, diloco::error_feedback,
               diloco::weighted_mean, diloco::automatic, diloco::every, diloco::cpp, diloco::silent,
               diloco::constant_rate, diloco::gradient>* trainer = nullptr;
auto rounds = trainer->rounds();
