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
    for_each_block<block>(t, [&](int offset, auto count) {
      int const first = offset + first_element<L, block>(l);
      float* DILOCO_RESTRICT to = anchor + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count),
                                            [&](int i) { to[i] = p[first + i]; });
    });
  }
};

/// θ ← what the caller's tensors show, where θ is a copy and they show something else than it, rounded: an
/// element that the framework left alone keeps what bfloat16 has no room for. Other rows stay. 8 B/param.
struct adopt_kernel {
  tile const* tiles;
  shown_rows shown;
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
    take(shown.narrow[t.row]);
    take(shown.wide[t.row]);
  }
  DILOCO_HD float adopted(float x, float) const { return x; }
  DILOCO_HD float adopted(bfloat16 x, float before) const { return shown.adopted(x, before); }
};

/// Finds out whether θ differs from θ̄ anywhere. Reads each tile up to its first difference.
struct find_motion_kernel {
  tile const* tiles;
  float* const* theta;   // (rows)
  float const* anchor;   // padded column
  std::uint32_t* moved;  // 0: yes

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

/// The other way round: θ, rounded where it must be.
struct show_kernel {
  static constexpr int block = 256;

  tile const* tiles;
  float* const* theta;  // (rows)
  shown_rows shown;
  void const* const* stepped = nullptr;  // (rows) null for a row that stays as it is; or nothing, for all

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    if (stepped != nullptr && stepped[t.row] == nullptr) return;
    for_each_block<block>(t, [&](int offset, auto count) {
      shown.template write<block>(l, t, offset, count,
                                  theta[t.row] + t.begin + offset + first_element<L, block>(l));
    });
  }
};

/// θ ← view(θ, slot), and θ as it was into `kept`; or θ ← `kept`. 16 or 8 B/param.
template <class View>
struct view_kernel {
  static constexpr int block = 256;

  View view;
  bool shows;
  tile const* tiles;
  float* const* theta;  // (rows)
  float const* slot;    // padded columns, as `kept`
  float* kept;
  shown_rows shown;

  template <lanes L>
  DILOCO_HD void operator()(L l, std::size_t index) const {
    tile const t = tiles[index];
    for_each_block<block>(t, [&](int offset, auto count) {
      int const first = offset + first_element<L, block>(l);
      float* DILOCO_RESTRICT const p = theta[t.row] + t.begin + first;
      float* DILOCO_RESTRICT const y = kept + t.column + first;
      float const* DILOCO_RESTRICT const s = slot + t.column + first;
      for_first<L, lane_elements<L, block>>(owned_elements<L, block>(l, count), [&](int i) {
        float const before = p[i];
        p[i] = shows ? view(before, s[i]) : y[i];
        y[i] = shows ? before : y[i];
      });
      shown.template write<block>(l, t, offset, count, p);
    });
  }
};

/// A gradient of bfloat16 in float32.
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
