// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/sweep/tiles.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// θ̄ ← θ, once at construction.
struct copy_to_anchor_kernel {
  static constexpr int block = 256;

  tile const* tiles;
  float* const* theta;  // (rows)
  float* anchor;        // padded column

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    float const* p = theta[t.row] + t.begin;
    for_each_piece<block>(l, t, [&](int offset, auto count) {
      int const first = offset + first_element<L, block>(l);
      float* DILOCO_RESTRICT to = anchor + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count),
                                            [&](int i) { to[i] = p[first + i]; });
    });
  }
};

/// θ ← the caller's tensors, in rows where θ is a float32 copy. An element that the framework left unchanged
/// keeps the bits that bfloat16 cannot hold. Other rows stay. 8 B/param.
struct adopt_kernel {
  tile const* tiles;
  callers_rows callers;
  float* const* theta;  // (rows)

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    tile const t = tiles[index];
    float* DILOCO_RESTRICT p = theta[t.row] + t.begin;
    auto const take = [&](auto const* from) {
      if (from == nullptr) return;
      auto const* DILOCO_RESTRICT x = from + t.begin;
      for (auto i = static_cast<std::size_t>(L::rank()); i < t.count; i += static_cast<std::size_t>(L::width))
        p[i] = adopted(x[i], p[i]);
    };
    take(callers.narrow[t.row]);
    take(callers.wide[t.row]);
  }
  DILOCO_HD float adopted(float x, float) const { return x; }
  DILOCO_HD float adopted(bfloat16 x, float before) const { return callers.adopted(x, before); }
};

/// Finds out whether θ differs from θ̄ anywhere. It reads each tile up to the first difference.
struct find_motion_kernel {
  tile const* tiles;
  float* const* theta;   // (rows)
  float const* anchor;   // padded column
  std::uint32_t* moved;  // 0 if θ differs from θ̄

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    tile const t = tiles[index];
    float const* const p = theta[t.row] + t.begin;
    float const* const from = anchor + t.column;
    auto i = static_cast<std::size_t>(L::rank());
    while (i < t.count && bits_of(p[i]) == bits_of(from[i])) i += static_cast<std::size_t>(L::width);
    if (i < t.count) L::atomic_min(moved, 0);
  }
};

/// The reverse of adopt_kernel: writes θ into the caller's tensors, rounded where they are bfloat16.
struct show_kernel {
  static constexpr int block = 256;

  tile const* tiles;
  float* const* theta;  // (rows)
  callers_rows callers;
  void const* const* stepped = nullptr;  // (rows), null for a row to leave alone; or null, to write all rows

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    if (stepped != nullptr && stepped[t.row] == nullptr) return;
    for_each_piece<block>(l, t, [&](int offset, auto count) {
      callers.template write<block>(l, t, offset, count,
                                    theta[t.row] + t.begin + offset + first_element<L, block>(l));
    });
  }
};

/// If `shows`, copies θ into `kept` and then θ ← view(θ, slot). Otherwise θ ← `kept`. 16 or 8 B/param.
/// Bits of the caller's bfloat16 tensors are kept, too: how θ was rounded into each, and what the caller has
/// written since.
template <class View>
struct view_kernel {
  static constexpr int block = 256;

  View view;
  bool shows;
  tile const* tiles;
  float* const* theta;  // (rows)
  float const* slot;    // padded columns, like `kept`
  float* kept;
  bfloat16* kept_bits;  // padded columns; not read if no tensor is bfloat16
  callers_rows callers;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    for_each_piece<block>(l, t, [&](int offset, auto count) {
      int const first = offset + first_element<L, block>(l);
      float* DILOCO_RESTRICT const p = theta[t.row] + t.begin + first;
      float* DILOCO_RESTRICT const y = kept + t.column + first;
      float const* DILOCO_RESTRICT const s = slot + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) {
        float const before = p[i];
        p[i] = shows ? view(before, s[i]) : y[i];
        y[i] = shows ? before : y[i];
      });
      bfloat16* const narrow = callers.narrow == nullptr ? nullptr : callers.narrow[t.row];
      if (narrow == nullptr) return;
      bfloat16* const theirs = narrow + t.begin + first;
      bfloat16* const bits = kept_bits + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) {
        (shows ? bits[i] : theirs[i]) = shows ? theirs[i] : bits[i];
      });
      if (shows) callers.template write<block>(l, t, offset, count, p);
    });
  }
};

/// Converts a bfloat16 gradient to float32.
struct widen_kernel {
  static constexpr std::size_t share = 4096;
  bfloat16 const* from;
  float* to;
  std::size_t elements;
  [[nodiscard]] std::size_t tiles() const { return (elements + share - 1) / share; }

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    std::size_t const end = (index + 1) * share < elements ? (index + 1) * share : elements;
    for (std::size_t i = index * share + static_cast<std::size_t>(L::rank()); i < end;
         i += static_cast<std::size_t>(L::width))
      to[i] = as_float(from[i]);
  }
};

/// column ← 0.
struct zero_kernel {
  static constexpr int block = 256;

  float* column;
  std::size_t elements;
  [[nodiscard]] std::size_t tiles() const { return (elements + block - 1) / block; }

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    std::size_t const begin = index * block, left = elements - begin;
    int const count = static_cast<int>(left < block ? left : block);
    float* const to = column + begin + first_element<L, block>(l);
    write_lane<L, lane_elements<L, block>>(to, owned_elements<L, block>(l, count), [](int) { return 0.0f; });
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
