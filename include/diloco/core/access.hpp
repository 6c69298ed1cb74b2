// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/lanes.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

// How one of several lanes reads and writes its consecutive elements: all at once, in words of up to 16
// bytes. A warp whose lanes each take a float at a stride of 32 bytes touches eight times the sectors it
// uses, with every instruction.
// On the host one lane owns the whole block. There a loop that fuses reading and writing is what vectorizes.

/// Bytes of the widest word such that a lane's N elements fill whole words.
template <class T, int N>
inline constexpr int word_bytes = [] {
  int const bytes = N * static_cast<int>(sizeof(T)), lowest = bytes & -bytes;
  return lowest < 16 ? lowest : 16;
}();

namespace detail {

template <std::size_t Bytes>
using word_of_size = std::conditional_t<Bytes == 1, std::uint8_t,
                                        std::conditional_t<Bytes == 2, std::uint16_t, std::uint32_t>>;

#if DILOCO_ON_DEVICE
/// The data that one instruction moves. Its parts have names, because an array of parts that a loop indexes
/// is put on the stack.
template <int Bytes>
struct packet;
template <>
struct alignas(16) packet<16> {
  std::uint32_t x, y, z, w;
};
template <>
struct alignas(8) packet<8> {
  std::uint32_t x, y;
};
template <>
struct alignas(4) packet<4> {
  std::uint32_t x;
};
template <>
struct alignas(2) packet<2> {
  std::uint16_t x;
};
template <>
struct packet<1> {
  std::uint8_t x;
};

/// Splits a part of a packet into elements, lowest bits first. `joined` does the reverse.
template <class T, class Part>
__device__ inline void split(T* to, Part part) {
#pragma unroll
  for (int k = 0; k < static_cast<int>(sizeof(Part) / sizeof(T)); ++k) {
    auto const bits = static_cast<word_of_size<sizeof(T)>>(part >> (k * 8 * static_cast<int>(sizeof(T))));
    std::memcpy(&to[k], &bits, sizeof(T));
  }
}
template <class Part, class T>
__device__ inline Part joined(T const* from) {
  std::uint32_t part = 0;
#pragma unroll
  for (int k = 0; k < static_cast<int>(sizeof(Part) / sizeof(T)); ++k) {
    word_of_size<sizeof(T)> bits;
    std::memcpy(&bits, &from[k], sizeof(T));
    part |= static_cast<std::uint32_t>(bits) << (k * 8 * static_cast<int>(sizeof(T)));
  }
  return static_cast<Part>(part);
}

template <int Word, int N, class T>
__device__ inline void take_words(T const* from, T* to) {
  constexpr int per_word = Word / static_cast<int>(sizeof(T)), per_part = Word < 4 ? per_word : 4 / sizeof(T);
#pragma unroll
  for (int i = 0; i < N; i += per_word) {
    packet<Word> const p = *reinterpret_cast<packet<Word> const*>(from + i);
    split(to + i, p.x);
    if constexpr (Word >= 8) split(to + i + per_part, p.y);
    if constexpr (Word == 16) {
      split(to + i + 2 * per_part, p.z);
      split(to + i + 3 * per_part, p.w);
    }
  }
}
template <int Word, int N, class T>
__device__ inline void put_words(T* to, T const* from) {
  constexpr int per_word = Word / static_cast<int>(sizeof(T)), per_part = Word < 4 ? per_word : 4 / sizeof(T);
  using part = decltype(packet<Word>::x);
#pragma unroll
  for (int i = 0; i < N; i += per_word) {
    packet<Word> p;
    p.x = joined<part>(from + i);
    if constexpr (Word >= 8) p.y = joined<part>(from + i + per_part);
    if constexpr (Word == 16) {
      p.z = joined<part>(from + i + 2 * per_part);
      p.w = joined<part>(from + i + 3 * per_part);
    }
    *reinterpret_cast<packet<Word>*>(to + i) = p;
  }
}
#endif

}  // namespace detail

/// N elements of a lane, in registers.
template <class T, int N>
requires(sizeof(T) <= 4) struct lane_values {
  T v[N];
  DILOCO_HD T& operator[](int i) { return v[i]; }
  DILOCO_HD T const& operator[](int i) const { return v[i]; }
};

/// `aligned`: an array whose blocks begin at 16-byte boundaries, as in our own columns and messages.
/// `anywhere`: any other array, whose alignment is checked at run time.
template <class T>
struct aligned {
  T* p;
  static constexpr bool known = true;
};
template <class T>
struct anywhere {
  T* p;
  static constexpr bool known = false;
};
template <class T>
aligned(T*) -> aligned<T>;
template <class T>
anywhere(T*) -> anywhere<T>;

/// Whether words can be moved there. The host moves single elements. With the standard library's assertions
/// on, it traps where the device would fault.
template <int Word, template <class> class Place, class T>
DILOCO_HD inline bool takes_words([[maybe_unused]] Place<T> at) {
#if DILOCO_ON_DEVICE
  return Place<T>::known || reinterpret_cast<std::uintptr_t>(at.p) % Word == 0;
#else
#if defined(_GLIBCXX_ASSERTIONS)
  if (Place<T>::known && reinterpret_cast<std::uintptr_t>(at.p) % Word != 0) __builtin_trap();
#endif
  return false;
#endif
}

template <int N, template <class> class Place, class T>
DILOCO_HD inline void load_lane(Place<T> from, lane_values<std::remove_const_t<T>, N>& to) {
  if (!takes_words<word_bytes<T, N>>(from)) {
    for (int i = 0; i < N; ++i) to.v[i] = from.p[i];
  }
#if DILOCO_ON_DEVICE
  else {
    detail::take_words<word_bytes<T, N>, N>(from.p, to.v);
  }
#endif
}

template <int N, template <class> class Place, class T>
DILOCO_HD inline void store_lane(Place<T> to, lane_values<T, N> const& from) {
  if (!takes_words<word_bytes<T, N>>(to)) {
    for (int i = 0; i < N; ++i) to.p[i] = from.v[i];
  }
#if DILOCO_ON_DEVICE
  else {
    detail::put_words<word_bytes<T, N>, N>(to.p, from.v);
  }
#endif
}

/// How a loop over a lane's elements uses an array.
template <class Place>
struct reads {
  Place place;
  static constexpr bool in = true, out = false;
};
template <class Place>
struct writes {
  Place place;
  static constexpr bool in = false, out = true;
};
template <class Place>
struct updates {
  Place place;
  static constexpr bool in = true, out = true;
};
template <class P>
reads(P) -> reads<P>;
template <class P>
writes(P) -> writes<P>;
template <class P>
updates(P) -> updates<P>;

namespace detail {

template <int N, class Use>
struct held {
  using number = std::remove_cvref_t<decltype(*Use::place.p)>;
  Use use;
  lane_values<number, N> x;

  DILOCO_HD held(Use u, int first) : use(u) {
    use.place.p += first;
    if constexpr (Use::in) load_lane<N>(use.place, x);
  }
  DILOCO_HD void put() const {
    if constexpr (Use::out) store_lane<N>(use.place, x);
  }
};

template <int N, class F, class... Held>
DILOCO_HD inline void run_held(F& f, int first, Held&&... h) {
  for (int i = 0; i < N; ++i) f(first + i, h.x[i]...);
  (h.put(), ...);
}

}  // namespace detail

/// Calls f(i, element…) for i in [0, N), four elements at a time: loads, then arithmetic, then stores. With
/// eight, sweep B under AdamW needs more registers than three thread blocks per multiprocessor have. The
/// arrays may not overlap.
template <int N, class F, class... Use>
DILOCO_HD inline void in_registers(F&& f, Use... use) {
  constexpr int step = N % 4 == 0 ? 4 : N;
  for (int first = 0; first < N; first += step)
    detail::run_held<step>(f, first, detail::held<step, Use>(use, first)...);
}

/// to[i] = of(from[i]) for a lane's elements of two arrays of the caller.
template <lanes L, int N, class From, class To, class Of>
DILOCO_HD inline void move_lane(From const* DILOCO_RESTRICT from, int mine, To* DILOCO_RESTRICT to, Of&& of) {
  if constexpr (L::width > 1) {
    if (mine == N) {
      in_registers<N>([&](int, From x, To& y) { y = of(x); }, reads{anywhere{from}}, writes{anywhere{to}});
      return;
    }
  }
  for_first<L, N>(mine, [&](int i) { to[i] = of(from[i]); });
}

/// Writes of(i) for this lane's first `mine` elements to an array of a message. `mine` is owned_elements(l,
/// count). `words` is false where the block may begin anywhere, as in the second plane of a shorter last
/// block.
template <lanes L, int N, class T, class Of>
DILOCO_HD inline void write_lane(T* DILOCO_RESTRICT out, int mine, Of&& of, bool words = true) {
  if constexpr (L::width > 1) {
    if (mine == N && words) {
      lane_values<T, N> x;
      for (int i = 0; i < N; ++i) x[i] = of(i);
      store_lane<N>(aligned{out}, x);
      return;
    }
  }
  for_first<L, N>(mine, [&](int i) { out[i] = of(i); });
}

/// The reverse of write_lane: calls sink(i, element).
template <lanes L, int N, class T, class Sink>
DILOCO_HD inline void read_lane(T const* DILOCO_RESTRICT in, int mine, Sink&& sink, bool words = true) {
  if constexpr (L::width > 1) {
    if (mine == N && words) {
      lane_values<T, N> x;
      load_lane<N>(aligned{in}, x);
      for (int i = 0; i < N; ++i) sink(i, x[i]);
      return;
    }
  }
  for_first<L, N>(mine, [&](int i) { sink(i, in[i]); });
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
