// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/diloco.hpp>

namespace toy {

/// An optimizer that needs the whole tensor: p ← p − lr · (row mean of all gradients so far). It keeps the
/// row sums in its memory.
struct row_mean {
  float lr = 0.1f;
  static constexpr std::string_view name = "row_mean";
  static constexpr std::array<std::string_view, 1> slots{"last"};
  static constexpr diloco::optimizer_traits traits{.memory = true, .shapes = true};
  static constexpr std::size_t scratch_elements(std::size_t rows, std::size_t) { return rows; }
  static constexpr std::size_t memory_elements(std::size_t rows, std::size_t) { return rows; }
  static constexpr std::string_view shape_error(std::span<std::size_t const> shape) {
    return shape.size() == 2 ? std::string_view{} : "is no matrix";
  }
  struct kernel {
    diloco::tensor_step<1> t;
    float lr;
    template <diloco::lanes L>
    DILOCO_HD void operator()(L, std::size_t row) const {
      if (L::rank() != 0) return;
      t.scratch[row] = 0;
      for (std::size_t j = 0; j < t.columns; ++j) t.scratch[row] += *t.grad_scale * t.g[row * t.columns + j];
      t.memory[row] += t.scratch[row] / static_cast<float>(t.columns);
      for (std::size_t j = 0; j < t.columns; ++j) {
        t.p[row * t.columns + j] -= lr * t.context.lr_scale * t.memory[row];
        t.slots[0][row * t.columns + j] = static_cast<float>(t.context.step);
      }
    }
  };
  template <diloco::executor E>
  void step(E const& where, diloco::tensor_step<1> const& t) const {
    where.for_each(t.rows, kernel{t, lr});
  }
  template <class F>
  constexpr void fields(F&& f) const {
    f("lr", lr, diloco::non_negative);
  }
};
static_assert(diloco::tensor_optimizer<row_mean> && !diloco::element_optimizer<row_mean>);

}  // namespace toy
