// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace gpt {

struct model_shape {
  int context = 64;                       // T, bytes
  int layers = 4;                         // L
  int heads = 4;                          // NH
  int width = 128;                        // C, a multiple of heads
  static constexpr int vocabulary = 256;  // V: one token is one byte

  friend bool operator==(model_shape const&, model_shape const&) = default;
};

}  // namespace gpt
