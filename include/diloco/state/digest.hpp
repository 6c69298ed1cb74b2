// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/hash.hpp>
#include <diloco/core/lanes.hpp>

#include <cstddef>
#include <cstdint>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// 64-bit digest of n floats' bits, a part of at most 2¹⁴ of them at a time: 32 chains over i ≡ 0 … 31 (mod
/// 32), which one thread vectorizes and 32 lanes share. Every element enters with its position, so a
/// permutation shows. The digest is the hash of all chains of all parts.
struct digest_kernel {
  static constexpr std::size_t part = 16384, chains = 32;

  float const* p;
  std::size_t n;
  std::uint64_t* out;  // (parts, 32)

  [[nodiscard]] static constexpr std::size_t parts(std::size_t n) { return (n + part - 1) / part; }

  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t index) const {
    static_assert(chains % L::width == 0);
    constexpr std::size_t mine = chains / L::width;
    std::size_t const first = index * part, left = n - first, count = left < part ? left : part;
    float const* DILOCO_RESTRICT x = p + first + static_cast<std::size_t>(L::rank()) * mine;
    std::uint64_t* DILOCO_RESTRICT to = out + index * chains + static_cast<std::size_t>(L::rank()) * mine;
    std::uint64_t chain[mine];
    for (std::size_t c = 0; c < mine; ++c) chain[c] = static_cast<std::size_t>(L::rank()) * mine + c;
    std::size_t base = 0;
    for (; base + chains <= count; base += chains) {
      for (std::size_t c = 0; c < mine; ++c) chain[c] = mix64(chain[c], bits_of(x[base + c]));
    }
    for (std::size_t c = 0; c < mine; ++c) {
      if (base + static_cast<std::size_t>(L::rank()) * mine + c < count)
        chain[c] = mix64(chain[c], bits_of(x[base + c]));
      to[c] = chain[c];
    }
  }
};

/// Of the chains of all parts, and of their number.
inline void add_chains(hash64& h, std::uint64_t const* chains, std::size_t parts) {
  for (std::size_t i = 0; i < parts * digest_kernel::chains; ++i) h.add(chains[i]);
}

/// On the host, by one thread.
inline std::uint64_t digest_of(float const* p, std::size_t n) {
  hash64 h;
  h.add(static_cast<std::uint64_t>(n));
  for (std::size_t i = 0; i < digest_kernel::parts(n); ++i) {
    std::uint64_t chains[digest_kernel::chains];
    std::size_t const first = i * digest_kernel::part;
    digest_kernel{p + first, n - first, chains}(solo{}, 0);
    add_chains(h, chains, 1);
  }
  return h.value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
