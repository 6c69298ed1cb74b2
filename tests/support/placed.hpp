// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/toy.hpp"

#include <cstring>

/// The toy model with its tensors and gradients in the memory of an executor's columns. `narrow`: the tensor
/// of 4097 elements is bfloat16.
template <class Executor>
struct placed {
  Executor where;
  toy::model m;
  std::vector<diloco::buffer> memory;
  std::vector<diloco::tensor> parameters;
  std::vector<std::span<float const>> gradients;

  placed(Executor e, std::vector<std::size_t> const& sizes, bool narrow = false)
      : where(e), m(sizes), parameters(m.parameters()) {
    for (diloco::tensor& t : parameters) {
      std::size_t const n = t.size();
      if (n == 9000) t.shape = {90, 100};
      float const* const from = t.data;
      memory.push_back(where.allocate(n * sizeof(float)));
      if (narrow && n == 4097) {
        std::vector<diloco::bfloat16> rounded(n);
        for (std::size_t i = 0; i < n; ++i) rounded[i] = diloco::nearest_bf16(from[i]);
        put(memory.back(), rounded.data(), n * sizeof(diloco::bfloat16));
        t.data = nullptr;
        t.bf16 = memory.back().template as<diloco::bfloat16>();
      } else {
        put(memory.back(), from, n * sizeof(float));
        t.data = memory.back().template as<float>();
      }
      memory.push_back(where.allocate(n * sizeof(float)));
      gradients.emplace_back(memory.back().template as<float>(), n);
    }
  }
  void put(diloco::buffer const& to, void const* from, std::size_t bytes) const {
    if constexpr (Executor::columns_on_host) {
      std::memcpy(to.data(), from, bytes);
    } else {
      where.copy_from_host(to.data(), from, bytes);
      where.wait();
    }
  }
  /// The gradients of one worker at one step.
  std::vector<std::span<float const>> const& at(int rank, long step) {
    auto const& fresh = m.gradients(rank, step);
    for (std::size_t t = 0; t < fresh.size(); ++t)
      put(memory[2 * t + 1], fresh[t].data(), fresh[t].size() * sizeof(float));
    return gradients;
  }
};
