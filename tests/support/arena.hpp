// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

namespace support {

/// Cuts one piece of memory, which it does not own, into blocks. Sizes are powers of two. A freed block is
/// kept for the next request of its size. The sizes of all blocks are stored at the end of the memory.
/// A device test uses it for memory that the device reads and writes behind every `new`
/// (support/arena_new.hpp).
/// The arena has nothing to destroy, because statics of a suite are destroyed after it.
class arena {
 public:
  static constexpr std::size_t unit = 256;  // smallest block; a warp's row of floats lies in one or two
  static constexpr std::size_t largest_alignment = std::size_t{2} << 20;

  /// `memory` must be aligned to largest_alignment.
  arena(std::byte* memory, std::size_t bytes)
      : begin_(memory),
        bytes_(bytes / (unit + 1) * unit),
        class_of_(reinterpret_cast<std::uint8_t*>(memory + bytes_)) {}

  /// Null if there is no room.
  [[nodiscard]] void* take(std::size_t bytes, std::size_t alignment) noexcept {
    if (bytes > bytes_ || alignment > largest_alignment) return refuse();
    std::size_t const size = std::bit_ceil(std::max({bytes, alignment, unit}));
    auto const kind = static_cast<std::uint8_t>(std::countr_zero(size));
    std::lock_guard const lock(mutex_);
    if (free_block* const again = free_[kind]; again != nullptr) {
      free_[kind] = again->next;
      return again;
    }
    std::size_t const step = std::min(size, largest_alignment), at = (used_ + step - 1) / step * step;
    if (at + size > bytes_) return refuse();
    class_of_[at / unit] = kind;
    used_ = at + size;
    return begin_ + at;
  }
  void give_back(void* block) noexcept {
    std::lock_guard const lock(mutex_);
    std::uint8_t const kind =
        class_of_[static_cast<std::size_t>(static_cast<std::byte*>(block) - begin_) / unit];
    free_[kind] = new (block) free_block{free_[kind]};
  }
  [[nodiscard]] bool holds(void const* p) const noexcept {
    auto const at = reinterpret_cast<std::uintptr_t>(p), begin = reinterpret_cast<std::uintptr_t>(begin_);
    return at >= begin && at - begin < bytes_;
  }
  /// Number of requests that found no room.
  [[nodiscard]] std::size_t refused() const noexcept { return refused_; }

 private:
  struct free_block {
    free_block* next;
  };
  void* refuse() noexcept {
    __atomic_fetch_add(&refused_, 1, __ATOMIC_RELAXED);
    return nullptr;
  }
  std::byte* begin_;
  std::size_t bytes_, used_ = 0, refused_ = 0;
  std::uint8_t* class_of_;  // (units) log2 of the size of the block that begins there
  std::array<free_block*, 64> free_{};
  std::mutex mutex_;
};

}  // namespace support
