// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: inner: is none, and the pseudo-gradient is what inner steps did
#include <diloco/diloco.hpp>

diloco::DiLoCo<diloco::none, diloco::nesterov, diloco::f32, diloco::alone>* trainer = nullptr;
auto rounds = trainer->rounds();
