// SPDX-License-Identifier: Apache-2.0
// Replaces `new` and `delete` of the whole program. They use the current arena, or malloc if there is none or
// it is full. Include it in one file of a program.
#pragma once

#include "support/arena.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace support {

/// The arena that `new` takes from. Before it changes, blocks of an earlier arena must be freed, unless the
/// earlier arena stays in use for good.
inline arena* arena_in_use = nullptr;

[[gnu::noinline]] inline void* allocate(std::size_t bytes, std::size_t alignment) {
  void* p = arena_in_use == nullptr ? nullptr : arena_in_use->take(bytes, alignment);
  // aligned_alloc requires a multiple of the alignment.
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

// Defines each form separately, because a sanitizer's forms would not call each other.
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
