// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>
#include <diloco/sweep/tiles.hpp>

#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The inner sweep: (θ, slots) ← step(θ, grad_scale·g, slots). One pass over all tensors.
template <class Step, std::size_t Slots>
struct inner_step_kernel {
  static constexpr int block = 256;
  /// Neighbouring lanes of a warp take neighbouring 16-byte pieces of each array.
  template <lanes L>
  static constexpr int stride = L::width > 1 ? 4 * L::width : block;

  Step step;
  float grad_scale;
  float const* factor;  // if not null, it replaces grad_scale
  tile const* tiles;
  float* const* theta;  // (rows)
  gradient_rows gradients;
  callers_rows callers;
  float* slots[Slots == 0 ? 1 : Slots];  // padded columns

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float* p = theta[t.row] + t.begin;
    float const scale = factor == nullptr ? grad_scale : *factor;
    gradients.of(t, [&](auto const* g) {
      for_each_piece<stride<L>>(l, t, [&](int offset, auto count) {
        callers.template adopt<stride<L>>(l, t, offset, count, p + offset + first_element<L, stride<L>>(l));
        one_block(l, scale, p + offset, g + offset, t.column + static_cast<std::size_t>(offset), count,
                  std::make_index_sequence<Slots>{});
        callers.template write<stride<L>>(l, t, offset, count, p + offset + first_element<L, stride<L>>(l));
      });
    });
  }

 private:
  template <lanes L, class Number, std::size_t... Index>
  DILOCO_HD void one_block(L l, float scale, float* p, Number const* g, [[maybe_unused]] std::size_t column,
                           int count, std::index_sequence<Index...>) const {
    int const first = first_element<L, stride<L>>(l);
    update(l, scale, owned_elements<L, stride<L>>(l, count), p + first, g + first,
           (slots[Index] + column + first)...);
  }
  template <lanes L, class Number, class... Slot>
  DILOCO_HD void update(L, float scale, int n, float* DILOCO_RESTRICT p, Number const* DILOCO_RESTRICT g,
                        Slot* DILOCO_RESTRICT... slot) const {
    constexpr int size = lane_elements<L, stride<L>>;
    if constexpr (L::width > 1) {
      if (n == size) {
        in_registers<size>(
            [&](int, float& x, Number y, Slot&... s) { step(x, product(scale, as_float(y)), s...); },
            updates{anywhere{p}}, reads{anywhere{g}}, updates{aligned{slot}}...);
        return;
      }
    }
    for_first<L, size>(n, [&](int i) { step(p[i], product(scale, as_float(g[i])), slot[i]...); });
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
