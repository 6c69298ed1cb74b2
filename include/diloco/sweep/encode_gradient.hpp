// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/feedback.hpp>
#include <diloco/concepts/signal.hpp>
#include <diloco/sweep/staged.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The gradients of a step, as a source of what is said. Of a row without a gradient nothing is said.
template <class S>
struct gradient_source {
  signal_step<S> say;
  gradient_rows gradients;
  float grad_scale;
  float const* factor;             // if not null, it replaces grad_scale
  float const* slot;               // padded column, as of the last committed round; null without a slot
  float* next_slot;                // padded column
  std::uint32_t const* too_large;  // first row whose θ is beyond the limit, or no_row

  /// Stands for the numbers of a row without a gradient.
  struct nothing {
    DILOCO_HD nothing operator+(std::size_t) const { return {}; }
  };
  DILOCO_HD float scale() const { return factor == nullptr ? grad_scale : *factor; }
  /// Calls f with the row's numbers from the tile's first element on.
  template <class F>
  DILOCO_HD void of(tile const& t, F&& f) const {
    if (gradients.rows[t.row] == nullptr)
      f(nothing{});
    else
      gradients.of(t, f);
  }
  /// What is said of element `i` of the padded column, given its gradient, already scaled.
  DILOCO_HD float said(float g, [[maybe_unused]] std::size_t i) const {
    if constexpr (signal_slots<S> == 0) {
      return say(g);
    } else {
      float m = slot[i];
      float const x = say(g, m);
      next_slot[i] = m;
      return x;
    }
  }
  /// The same of number `n` from `g` on. Without a gradient 0 is said, and the slot stays.
  template <class Numbers>
  DILOCO_HD float said(float scale, Numbers g, std::size_t n, std::size_t i) const {
    if constexpr (std::is_pointer_v<Numbers>) {
      return said(product(scale, as_float(g[n])), i);
    } else {
      if constexpr (signal_slots<S> != 0) next_slot[i] = slot[i];
      return 0.0f;
    }
  }
  template <lanes L>
  DILOCO_HD void check_theta(L, std::uint32_t* bad_row) const {
    if (L::rank() == 0 && *too_large != message_header::no_row)
      L::atomic_min(bad_row, *too_large | message_header::anchor_flag);
  }
};

/// Sweep A of a signal that is made of the gradient: x = want(say(grad_scale·g), e); the rest as in
/// encode_kernel. Reads g and the residual; θ is not read.
template <block_compressor C, feedback F, class S>
struct encode_gradient_kernel {
  C compressor;
  feedback_step<F> step;
  gradient_source<S> source;
  tile const* tiles;
  residual_columns<residual_bits<F>, C::block> residual;
  std::byte* slots;  // (shards, slot_bytes)
  std::size_t slot_bytes;
  std::uint32_t* bad_row;
  draw stream;
  magnitude_limits limits;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    source.check_theta(l, bad_row);
    for_each_block<C::block>(*this, l, tiles[index]);
  }
  /// One block of a tile; for_each_block calls it.
  template <lanes L, class Count>
  DILOCO_HD void block(L l, tile const& t, int offset, Count count) const {
    std::size_t const column = t.column + static_cast<std::size_t>(offset);
    std::byte* bytes = slots + t.shard * slot_bytes + sizeof(message_header) + t.wire;
    lane_block<L, C::block> x;
    std::uint32_t magnitude = 0;
    source.of(t, [&](auto g) {
      magnitude = measure(l, x, count, g + static_cast<std::size_t>(offset), column, source.scale());
    });
    encode_block(l, compressor, step, x, block_info{count, 0.0f, drawn_at(column), stream}, magnitude,
                 block_at<C>(bytes, t, offset), residual, column, bad_row, t.row, limits.sent);
  }

 private:
  template <lanes L, class Numbers>
  DILOCO_HD std::uint32_t measure(L l, lane_block<L, C::block>& x, int count, Numbers g, std::size_t column,
                                  float scale) const {
    constexpr int size = lane_elements<L, C::block>;
    auto const first = static_cast<std::size_t>(first_element<L, C::block>(l));
    int const mine = owned_elements<L, C::block>(l, count);
    if (count != C::block) x = {};
    bool const in_place = L::width > 1 && count == C::block && std::is_pointer_v<Numbers>;
    if constexpr (L::width > 1 && std::is_pointer_v<Numbers>) {
      if (in_place)
        in_registers<size>([&](int i, auto y) { x.v[i] = product(scale, as_float(y)); },
                           reads{anywhere{g + first}});
    }
    auto const from = g + first;
    auto const said = [&](int i) {
      auto const n = static_cast<std::size_t>(i);
      return in_place ? source.said(x.v[i], column + first + n)
                      : source.said(scale, from, n, column + first + n);
    };
    std::uint32_t magnitude = 0, estimated = 0;
    if (residual.none()) {
      for_first<L, size>(mine, [&](int i) {
        x.v[i] = said(i);
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
      });
    } else {
      auto const e = residual.block(l, column, count);
      for_first<L, size>(mine, [&](int i) {
        float const d = said(i), left = e(i);
        x.v[i] = step.want(d, left);
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
        if constexpr (keeps_estimate<F>)
          estimated = larger(estimated, larger(magnitude_bits(d), magnitude_bits(left)));
      });
    }
    return estimated > bits_of(limits.estimate) ? estimate_too_large : magnitude;
  }
};

/// The same for the stages of a compressor that needs more than one block at a time.
template <feedback F, int Block, class S>
struct local_gradient {
  feedback_step<F> step;
  gradient_source<S> source;
  residual_columns<residual_bits<F>, Block> residual;
  magnitude_limits limits;

  /// Returns 0, or a magnitude above every limit if θ or an estimate is too large.
  template <lanes L>
  DILOCO_HD std::uint32_t fill(L l, tile const& t, float* DILOCO_RESTRICT x) const {
    float const scale = source.scale();
    std::uint32_t estimated = 0;
    source.of(t, [&](auto g) {
      for_each_residual(l, t, residual, t.column, [&](int i, float e) {
        auto const n = static_cast<std::size_t>(i);
        float const d = source.said(scale, g, n, t.column + n);
        x[i] = step.want(d, e);
        if constexpr (keeps_estimate<F>)
          estimated = larger(estimated, larger(magnitude_bits(d), magnitude_bits(e)));
      });
    });
    if (*source.too_large != message_header::no_row) return anchor_too_large;
    return estimated > bits_of(limits.estimate) ? estimate_too_large : 0;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
