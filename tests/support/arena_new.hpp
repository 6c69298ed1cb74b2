// SPDX-License-Identifier: Apache-2.0
// Replaces `new` and `delete` of the whole program: from the arena in use, and from malloc where there is
// none or it is full. For one file of a program.
#pragma once

#include "support/arena.hpp"

#include <cstdlib>
#include <new>

namespace support {

/// Which arena `new` takes from. Blocks of an earlier one must be gone by then, or it the one that is used
/// for good.
inline arena* arena_in_use = nullptr;

[[gnu::noinline]] inline void* allocate(std::size_t bytes, std::size_t alignment) {
  void* p = arena_in_use == nullptr ? nullptr : arena_in_use->take(bytes, alignment);
  // aligned_alloc wants a multiple.
  if (p == nullptr)
    p = std::aligned_alloc(alignment,
                           (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] inline void release(void* p) noexcept {
  if (arena_in_use != nullptr && arena_in_use->holds(p))
    arena_in_use->give_back(p);
  else
    std::free(p);
}

inline void* allocate(std::size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, std::max<std::size_t>(static_cast<std::size_t>(alignment), sizeof(void*)));
}
inline constexpr std::size_t usual_alignment = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
inline void* allocate_quietly(std::size_t bytes, auto alignment) noexcept try {
  return allocate(bytes, alignment);
} catch (std::bad_alloc const&) {
  return nullptr;
}
}  // namespace support

// Each form by itself: those of a sanitizer would not call one another.
using quietly = std::nothrow_t const&;
void* operator new(std::size_t n) { return support::allocate(n, support::usual_alignment); }
void* operator new[](std::size_t n) { return support::allocate(n, support::usual_alignment); }
void* operator new(std::size_t n, std::align_val_t a) { return support::allocate(n, a); }
void* operator new[](std::size_t n, std::align_val_t a) { return support::allocate(n, a); }
void* operator new(std::size_t n, quietly) noexcept {
  return support::allocate_quietly(n, support::usual_alignment);
}
void* operator new[](std::size_t n, quietly) noexcept {
  return support::allocate_quietly(n, support::usual_alignment);
}
void* operator new(std::size_t n, std::align_val_t a, quietly) noexcept {
  return support::allocate_quietly(n, a);
}
void* operator new[](std::size_t n, std::align_val_t a, quietly) noexcept {
  return support::allocate_quietly(n, a);
}
void operator delete(void* p) noexcept { support::release(p); }
void operator delete[](void* p) noexcept { support::release(p); }
void operator delete(void* p, std::size_t) noexcept { support::release(p); }
void operator delete[](void* p, std::size_t) noexcept { support::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { support::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { support::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { support::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { support::release(p); }
void operator delete(void* p, quietly) noexcept { support::release(p); }
void operator delete[](void* p, quietly) noexcept { support::release(p); }
void operator delete(void* p, std::align_val_t, quietly) noexcept { support::release(p); }
void operator delete[](void* p, std::align_val_t, quietly) noexcept { support::release(p); }
