// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/executors.hpp"

#include <limits>
#include <vector>

namespace support {

/// One tensor with everything that a tensor optimizer keeps for it, to call `step` without a trainer. Memory
/// holds exactly the declared size. Scratch starts as NaN, so a read before a write shows.
template <class O, class Executor = main_executor>
class whole_tensor {
 public:
  std::size_t rows, columns;
  std::vector<float> p;
  float grad_scale = 1.0f, lr_scale = 1.0f;
  std::vector<std::vector<float>> slots = std::vector<std::vector<float>>(O::slots.size());
  std::vector<float> memory;
  std::uint64_t steps = 0;

  whole_tensor(std::size_t r, std::size_t c, std::vector<float> start)
      : rows(r), columns(c), p(std::move(start)) {
    for (auto& slot : slots) slot.assign(r * c, 0.0f);
    memory.assign(diloco::memory_elements_of<O>(r, c), 0.0f);
  }

  void step(O const& optimizer, std::vector<float> const& g) {
    Executor const where;
    std::size_t const floats = O::scratch_elements(rows, columns);
    auto const scratch = where.allocate(floats * sizeof(float));
    std::fill_n(scratch.template as<float>(), floats, std::numeric_limits<float>::quiet_NaN());
    std::vector<float> const factor{grad_scale};  // in memory that the sweeps can read
    diloco::tensor_step<O::slots.size()> t{rows, columns, p.data(), g.data(), factor.data()};
    for (std::size_t i = 0; i < slots.size(); ++i) t.slots[i] = slots[i].data();
    t.memory = memory.data();
    t.scratch = scratch.template as<float>();
    t.context = {++steps, lr_scale};
    t.first = steps == 1;
    optimizer.step(where, t);
    where.wait();
  }
};

}  // namespace support
