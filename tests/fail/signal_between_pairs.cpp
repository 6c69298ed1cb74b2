// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: exchange: lets ranks meet in pairs, and a signal of the gradient keeps θ equal
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::none, diloco::nesterov, diloco::f32, diloco::threads, diloco::error_feedback,
               diloco::weighted_mean, diloco::gossip, diloco::every, diloco::cpp, diloco::silent,
               diloco::constant_rate, diloco::gradient>* trainer = nullptr;
auto rounds = trainer->rounds();
