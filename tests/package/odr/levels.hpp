// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/diloco.hpp>

#include <limits>
#include <vector>

/// Whether a trainer refuses a NaN in a gradient, with this file's compile settings.
namespace {  // one per file
bool refuses_nan() {
  std::vector<float> x(10), g(10, 1.0f);
  g[3] = std::numeric_limits<float>::quiet_NaN();
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(diloco::alone{}),
                         std::vector<diloco::tensor>{{"x", {10}, x.data()}});
  return !trainer.try_step(std::vector<std::span<float const>>{g});
}
}  // namespace
