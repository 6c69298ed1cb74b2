// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/groups.hpp>
#include <diloco/core/normal.hpp>
#include <diloco/sweep/tiles.hpp>

#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The inner sweep of an optimizer that takes gradients at samples. θ is the trainer's own float32 copy; the
/// caller's tensor holds a sample.
/// One pass steps θ by the gradient at that sample and writes the next sample, θ + z·deviation. Without
/// `steps` it only writes a sample.
template <class Step, std::size_t Slots>
struct sampling_step_kernel {
  static constexpr int block = 256;

  Step step;
  bool steps;
  float grad_scale;
  float const* factor;  // if not null, it replaces grad_scale
  tile const* tiles;
  float* const* theta;  // (rows)
  gradient_rows gradients;
  callers_rows callers;
  draw stream;
  float* slots[Slots == 0 ? 1 : Slots];  // padded columns

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    auto const blocks = [&](auto const* g, auto* seen) {
      for_each_piece<block>(l, t, [&](int offset, auto count) {
        one_block(l, t, offset, count, g, seen, std::make_index_sequence<Slots>{});
      });
    };
    auto const with = [&](auto* seen) {
      if (steps && gradients.rows[t.row] != nullptr)
        gradients.of(t, [&](auto const* g) { blocks(g, seen + t.begin); });
      else
        blocks(static_cast<float const*>(nullptr), seen + t.begin);
    };
    if (callers.narrow[t.row] != nullptr)
      with(callers.narrow[t.row]);
    else
      with(callers.wide[t.row]);
  }

 private:
  template <lanes L, class Gradient, class Number, std::size_t... Index>
  DILOCO_HD void one_block(L l, tile const& t, int offset, int count, Gradient const* g, Number* seen,
                           std::index_sequence<Index...>) const {
    int const first = offset + first_element<L, block>(l);
    [[maybe_unused]] std::size_t const column = t.column + static_cast<std::size_t>(first);
    // Draws are indexed by row and position. The columns of each group begin at 0, so a column index would
    // give two groups the same draws.
    lane_block<L, block> z;
    draw_normal(z.v, (std::uint64_t{t.row} << 40) + t.begin + static_cast<std::size_t>(first), stream,
                step.seed);
    update(l, owned_elements<L, block>(l, count), z, theta[t.row] + t.begin + first,
           g == nullptr ? nullptr : g + first, seen + first, (slots[Index] + column)...);
  }
  template <lanes L, class Gradient, class Number, class... Slot>
  DILOCO_HD void update(L, int n, lane_block<L, block> const& z, float* DILOCO_RESTRICT p,
                        Gradient const* DILOCO_RESTRICT g, Number* DILOCO_RESTRICT seen,
                        Slot* DILOCO_RESTRICT... slot) const {
    if (g != nullptr) {
      float const scale = factor == nullptr ? grad_scale : *factor;
      for_first<L, lane_elements<L, block>>(n, [&](int i) {
        step(p[i], product(scale, as_float(g[i])), as_float(seen[i]), slot[i]...);
        show(seen[i], fma(z.v[i], step.deviation(slot[i]...), p[i]));
      });
    } else {
      for_first<L, lane_elements<L, block>>(
          n, [&](int i) { show(seen[i], fma(z.v[i], step.deviation(slot[i]...), p[i])); });
    }
  }
  DILOCO_HD static void show(float& to, float x) { to = x; }
  DILOCO_HD static void show(bfloat16& to, float x) { to = nearest_bf16(x); }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
