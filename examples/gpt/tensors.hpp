// SPDX-License-Identifier: Apache-2.0
// Everything that diloco needs to know about the model: its parameters and their gradients.
#pragma once

#include "model.hpp"

#include <diloco/state/layout.hpp>

namespace gpt {

inline std::vector<diloco::tensor> tensors_of(model<float>& model) {
  std::vector<diloco::tensor> all;
  model.parameters().for_each([&](parameter<float>& p) { all.push_back({p.name, p.shape, p.value.data()}); });
  return all;
}

inline std::vector<std::span<float const>> gradients_of(model<float>& model) {
  std::vector<std::span<float const>> all;
  model.parameters().for_each([&](parameter<float>& p) { all.emplace_back(p.gradient); });
  return all;
}

}  // namespace gpt
