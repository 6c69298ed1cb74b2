// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/core/text.hpp>

#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace diloco {
inline namespace v0 {

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
  wires w{where.allocate_wire(bytes), inbox == 0 ? buffer{} : where.allocate_wire(inbox)};
  std::memcpy(w.send.data(), mine.data(), bytes);
  auto pending = transport.all_gather(std::move(w), tag);
  auto arrived = pending.wait(limit);
  if (!arrived) return std::move(arrived).error();
  std::optional<difference> found;
  for (std::size_t i = 0; i < mine.size() && !found; ++i) {
    for (int k = 1; k < transport.size() && !found; ++k) {
      auto const at = i * sizeof(std::uint64_t);
      if (std::memcmp(arrived->wire(k).data() + at, arrived->wire(0).data() + at, sizeof(std::uint64_t)) != 0) {
        found = difference{i, arrived->roster()[static_cast<std::size_t>(k)]};
      }
    }
  }
  arrived->done();
  if (auto back = std::move(*arrived).reclaim(limit); !back) return std::move(back).error();
  return found;
}

/// What all ranks must agree on before round 0, one fingerprint per term. Compared in this order, so the first that
/// differs is the one to name.
class contract {
 public:
  void add(std::string term, std::uint64_t fingerprint, std::string here) {
    terms_.push_back({std::move(term), std::move(here)});
    fingerprints_.push_back(fingerprint);
  }

  /// Collective. Error: the first term on which ranks differ, with what this rank has.
  template <transport T, executor E>
  result<> agree(T& transport, E const& where, deadline limit) const {
    auto found = first_difference(transport, where, std::span<std::uint64_t const>(fingerprints_), {0, 0xffu}, limit);
    if (!found) return std::move(found).error();
    if (!found->has_value()) return {};
    difference const d = **found;
    entry const& term = terms_[d.index];
    return error{cause::disagreement, transport.rank(), 0,
                 say({"diloco: contract: rank ", d.rank, " and rank 0 disagree on the ", term.name, "; rank ",
                      transport.rank(), " has ", term.here})};
  }

 private:
  struct entry {
    std::string name, here;
  };
  std::vector<entry> terms_;
  std::vector<std::uint64_t> fingerprints_;
};

}  // namespace v0
}  // namespace diloco
