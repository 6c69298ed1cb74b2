// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/core/float_modes.hpp>
#include <diloco/core/text.hpp>

#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Reads the floating-point modes of the threads that run kernels. Each thread has its own modes. Threads of
/// a pool keep the modes they started with.
struct float_modes_kernel {
  float_mode_operands const* operands;
  std::uint32_t* seen;  // (tiles)

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    if (L::rank() == 0) seen[index] = float_modes_of(*operands);
  }
};

struct float_modes_seen {
  std::uint32_t here, all;  ///< modes of the calling thread; modes of it and of all kernel threads, or-ed
  bool alike;               ///< all host threads that ran kernels had the modes of the calling thread

  /// The reason why no trainer can be constructed, or an empty text.
  [[nodiscard]] std::string validation_error(std::string_view executor) const {
    if ((all & reassociates_sums) != 0)
      return "diloco: the compiler reorders sums here, and bits would depend on it; compile without "
             "-fassociative-math";
    if (alike) return {};
    return say({"diloco: executor ", executor,
                ": its threads round or flush subnormal numbers otherwise than the thread "
                "that constructs the trainer; set the mode before the first thread of the pool starts"});
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
