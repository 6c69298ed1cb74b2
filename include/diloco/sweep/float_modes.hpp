// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/core/float_modes.hpp>
#include <diloco/core/text.hpp>

#include <new>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Modes of the threads that run kernels. Each thread has its own, and those of a pool keep what they started
/// with.
struct float_modes_kernel {
  float_mode_operands const* operands;
  std::uint32_t* seen;  // (tiles)

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    if (L::rank() == 0) seen[index] = float_modes_of(*operands);
  }
};

struct float_modes_seen {
  std::uint32_t here, all;  ///< of the calling thread; of it and all threads that ran kernels, or-ed
  bool alike;               ///< all threads of the host that ran kernels had the modes of the calling thread

  /// Why no trainer can be constructed, or an empty text.
  [[nodiscard]] std::string complaint(std::string_view executor) const {
    if ((all & reassociates_sums) != 0)
      return "diloco: the compiler reorders sums here, and bits would depend on it; compile without "
             "-fassociative-math";
    if (alike) return {};
    return say({"diloco: executor ", executor,
                ": its threads round or flush subnormal numbers otherwise than the thread "
                "that constructs the trainer; set the mode before the first thread of the pool starts"});
  }
};

/// Runs 256 tiles, so that a static schedule reaches every thread of up to 256. Waits; takes microseconds and
/// 1.1 KiB for a moment.
template <executor E>
float_modes_seen float_modes_on(E const& where) {
  constexpr std::size_t tiles = 256;
  buffer const memory = where.allocate_wire(sizeof(float_mode_operands) + tiles * sizeof(std::uint32_t));
  auto* const operands = new (memory.data()) float_mode_operands;
  auto* const seen = reinterpret_cast<std::uint32_t*>(memory.data() + sizeof(float_mode_operands));
  where.for_each(tiles, float_modes_kernel{operands, seen});
  where.wait();
  std::uint32_t const here = float_modes_here();
  float_modes_seen s{here, here, true};
  for (std::size_t i = 0; i < tiles; ++i) {
    s.all |= seen[i];
    s.alike = s.alike && (!E::columns_on_host || seen[i] == here);
  }
  return s;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
