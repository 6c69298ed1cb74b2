// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/core/text.hpp>
#include <diloco/wire/hand_over.hpp>

#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// First place where a rank's numbers differ from rank 0's.
struct difference {
  std::size_t index;
  int rank;
};

/// Gathers `mine` from every rank and compares. Collective; allocates; the same answer on every rank.
template <transport T, executor E>
result<std::optional<difference>> first_difference(T& transport, E const& where, std::span<std::uint64_t const> mine,
                                                   exchange_tag tag, deadline limit) {
  std::size_t const bytes = mine.size_bytes();
  std::size_t const inbox = T::receives_in_place ? 0 : bytes * static_cast<std::size_t>(transport.size());
  wires w{allocate_wire_for<T>(where, bytes), allocate_wire_for<T>(where, inbox)};
  std::size_t const all = bytes * static_cast<std::size_t>(transport.size());
  buffer const staging = wires_are_away<T, E> ? where.allocate_wire(all) : buffer{};
  if constexpr (wires_are_away<T, E>) {
    std::memcpy(staging.data(), mine.data(), bytes);
    where.copy_from_host(w.send.data(), staging.data(), bytes);
  } else {
    std::memcpy(w.send.data(), mine.data(), bytes);
  }
  hand_over(transport, where);
  auto pending = transport.all_gather(std::move(w), tag);
  auto arrived = pending.wait(limit);
  if (!arrived) {
    where.wait();  // the staging copy may still be read
    return std::move(arrived).error();
  }
  auto const wire = [&](int k) {
    if constexpr (wires_are_away<T, E>)
      return staging.bytes().subspan(static_cast<std::size_t>(k) * bytes, bytes);
    else
      return arrived->wire(k);
  };
  if constexpr (wires_are_away<T, E>) {
    for (int k = 0; k < transport.size(); ++k) where.copy_to_host(wire(k).data(), arrived->wire(k).data(), bytes);
    where.wait();
  }
  std::optional<difference> found;
  for (std::size_t i = 0; i < mine.size() && !found; ++i) {
    for (int k = 1; k < transport.size() && !found; ++k) {
      auto const at = i * sizeof(std::uint64_t);
      if (std::memcmp(wire(k).data() + at, wire(0).data() + at, sizeof(std::uint64_t)) != 0) {
        found = difference{i, arrived->roster()[static_cast<std::size_t>(k)]};
      }
    }
  }
  arrived->done();
  if (auto back = std::move(*arrived).reclaim(limit); !back) return std::move(back).error();
  return found;
}

/// One thing that all ranks must agree on before round 0, and what this rank has.
struct contract_term {
  std::string name;
  std::uint64_t fingerprint;
  std::string here;
};

/// Collective. Error: the first term on which a rank differs from rank 0, with what this rank has.
template <transport T, executor E>
result<> agree(T& transport, E const& where, std::vector<contract_term> const& terms, std::uint32_t phase,
               deadline limit) {
  std::vector<std::uint64_t> fingerprints;
  for (contract_term const& t : terms) fingerprints.push_back(t.fingerprint);
  auto found = first_difference(transport, where, std::span<std::uint64_t const>(fingerprints), {0, phase}, limit);
  if (!found) return std::move(found).error();
  if (!found->has_value()) return {};
  contract_term const& term = terms[(*found)->index];
  return error{cause::disagreement, transport.rank(), 0,
               say({"diloco: contract: rank ", (*found)->rank, " and rank 0 disagree on the ", term.name, "; rank ",
                    transport.rank(), " has ", term.here})};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
