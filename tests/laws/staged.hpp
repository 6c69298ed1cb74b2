// SPDX-License-Identifier: Apache-2.0
// A staged compressor alone: one encoding of some tensors, its bytes, and what they decode to.
#pragma once

#include "support.hpp"

#include <algorithm>
#include <cstring>

namespace laws {

using namespace diloco;

/// Tensors of given shapes, laid out for C as the trainer does it, in one slot.
template <staged_compressor C>
struct staged_wire {
  std::vector<std::vector<std::size_t>> shapes;
  C compressor{};
  std::vector<std::vector<float>> values{};
  layout l = lay_out();
  wire_plan plan = wire_plan::of<C>(l, 1);
  std::vector<float> x = std::vector<float>(l.column_elements() + 1);
  std::vector<std::uint64_t> scratch = std::vector<std::uint64_t>(plan.scratch_bytes() / 8 + 2);
  std::vector<float> constants = write_constants();
  std::vector<float> memory = first_memory(), next_memory = memory;
  buffer slot = main_executor{}.allocate(plan.slot_bytes());

  static std::vector<float> write_constants() {
    std::vector<float> c(constant_elements_of<C> + 1);
    if constexpr (constant_elements_of<C> != 0) C::write_constants(c.data());
    return c;
  }

  std::vector<float> first_memory() {
    std::vector<float> m(plan.memory_elements() + 1);
    if constexpr (agrees_on_memory<C>)
      main_executor{}.for_each(plan.slices().size(), agree_kernel<C>{received({}, {}, 0), m.data()});
    return m;
  }

  layout lay_out() {
    std::vector<tensor> tensors;
    for (auto const& shape : shapes) {
      std::size_t n = 1;
      for (std::size_t extent : shape) n *= extent;
      values.emplace_back(n);
    }
    for (std::size_t t = 0; t < shapes.size(); ++t)
      tensors.push_back({std::to_string(t), shapes[t], values[t].data()});
    return *layout::of(tensors, C::block, true);
  }
  stage_work<C> work(std::uint64_t round) {
    // An executor gives 16-byte alignment.
    auto* const aligned =
        reinterpret_cast<std::byte*>((reinterpret_cast<std::uintptr_t>(scratch.data()) + 15) / 16 * 16);
    return {compressor,
            l.tiles().data(),
            plan.slices().data(),
            x.data(),
            0,
            slot.data(),
            plan.slot_bytes(),
            aligned,
            constants.data(),
            memory.data(),
            next_memory.data(),
            draw{round, 0, 0}};
  }

  struct given {
    float const* const* rows;
    template <lanes L>
    DILOCO_HD std::uint32_t fill(L, tile const& t, float* to) const {
      float const* const from = rows[t.row] + t.begin;
      for_each_element(L{}, t, [&](std::size_t i) { to[i] = from[i]; });
      return 0;
    }
  };
  struct nothing {
    template <lanes L>
    DILOCO_HD void operator()(L, stage_work<C> const&, tile const&) const {}
  };
  struct prepare_kernel {
    received_wires<C> wires;
    tile const* tiles;
    template <lanes L>
    DILOCO_HD void operator()(L, std::size_t index) const {
      wires.prepare(L{}, tiles[index]);
    }
  };
  /// The row of the first value that cannot be sent, or message_header::no_row.
  std::uint32_t encode(std::uint64_t round = 0) {
    std::vector<std::uint32_t> bad{message_header::no_row};
    std::vector<float const*> rows;
    for (auto const& v : values) rows.push_back(v.data());
    run_stages(main_executor{}, work(round), stage_extent{l.tiles().size(), 0, plan.slices().size()},
               given{rows.data()}, nothing{}, bad.data(), C::largest);
    return bad[0];
  }
  /// Σ c_k · decode(wire_k) over messages like this rank's own slot, summed as in sweep B.
  std::vector<std::vector<float>> decode(std::uint64_t round, std::vector<std::byte const*> const& wires,
                                         std::vector<float> const& shares) {
    std::vector<float> sums(l.column_elements(), -77.0f);
    auto from = received(wires, shares, round);
    from.sums = sums.data();
    main_executor{}.for_each(l.tiles().size(), prepare_kernel{from, l.tiles().data()});
    std::vector<std::vector<float>> out;
    for (layout::row const& r : l.rows())
      out.emplace_back(sums.begin() + long(r.column), sums.begin() + long(r.column + r.size));
    return out;
  }
  /// Decodes this rank's own message alone.
  std::vector<std::vector<float>> decode(std::uint64_t round = 0) {
    return decode(round, {slot.data()}, {1.0f});
  }
  /// Commits the round. Its memory becomes current, or what all ranks agree on from these messages.
  template <class Executor = main_executor>
  void commit(std::uint64_t round, std::vector<std::byte const*> const& wires,
              std::vector<float> const& shares) {
    if constexpr (agrees_on_memory<C>) {
      Executor{}.for_each(plan.slices().size(),
                          agree_kernel<C>{received(wires, shares, round), next_memory.data()});
    }
    memory.swap(next_memory);
  }
  template <class Executor = main_executor>
  void commit(std::uint64_t round) {
    commit<Executor>(round, {slot.data()}, {1.0f});
  }
  std::span<std::byte> payload() const {
    return slot.bytes().subspan(sizeof(message_header), plan.payload_bytes());
  }

 private:
  received_wires<C> received(std::vector<std::byte const*> const& wires, std::vector<float> const& shares,
                             std::uint64_t round) {
    return {compressor,
            wires.data(),
            shares.data(),
            static_cast<int>(wires.size()),
            false,
            plan.slices().data(),
            constants.data(),
            nullptr,
            draw{round, 0, 0},
            memory.data()};
  }
};

}  // namespace laws
