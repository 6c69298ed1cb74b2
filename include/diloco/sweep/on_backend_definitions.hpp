// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/sweep/on_backend.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE std::uint64_t digest_of_column(backend const& where, float const* from,
                                                       std::size_t n) {
  if (where.columns_on_host()) return digest_of(from, n);
  std::size_t const parts = digest_kernel::parts(n);
  buffer const chains = where.allocate_shared(parts * digest_kernel::chains * sizeof(std::uint64_t));
  where.for_each(parts, digest_kernel{from, n, chains.as<std::uint64_t>()});
  where.wait();
  hash64 h;
  h.add(static_cast<std::uint64_t>(n));
  add_chains(h, chains.as<std::uint64_t>(), parts);
  return h.value();
}

DILOCO_COLD DILOCO_CORE std::uint64_t digest_of_tensor(backend const& where, layout::row const& r) {
  if (r.data != nullptr) return digest_of_column(where, r.data, r.size);
  std::size_t const bytes = r.size * sizeof(bfloat16);  // frozen bfloat16
  buffer const staging = where.allocate_shared(bytes);
  if (where.columns_on_host()) {
    std::memcpy(staging.data(), r.bf16, bytes);
  } else {
    where.copy_to_host(staging.data(), r.bf16, bytes);
    where.wait();
  }
  hash64 h;
  for (std::size_t i = 0; i < r.size; ++i) h.add(std::uint64_t{staging.as<bfloat16>()[i].bits});
  return h.value();
}

DILOCO_COLD DILOCO_CORE float_modes_seen float_modes_on(backend const& where) {
  constexpr std::size_t tiles = 256;
  buffer const memory = where.allocate_shared(sizeof(float_mode_operands) + tiles * sizeof(std::uint32_t));
  auto* const operands = new (memory.data()) float_mode_operands;
  auto* const seen = reinterpret_cast<std::uint32_t*>(memory.data() + sizeof(float_mode_operands));
  where.for_each(tiles, float_modes_kernel{operands, seen});
  where.wait();
  std::uint32_t const here = float_modes_here();
  float_modes_seen s{here, here, true};
  for (std::size_t i = 0; i < tiles; ++i) {
    s.all |= seen[i];
    s.alike = s.alike && (!where.columns_on_host() || seen[i] == here);
  }
  return s;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
