// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/field.hpp>
#include <diloco/core/float_modes.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/core/text.hpp>
#include <diloco/wire/link.hpp>

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The first index at which a rank's numbers differ from rank 0's.
struct difference {
  std::size_t index;
  int rank;
};

/// The same number of bytes from every rank, in roster order.
struct gathered {
  std::vector<std::byte> bytes;  // (ranks, each)
  std::vector<int> roster;
  std::size_t each = 0;
  [[nodiscard]] std::byte const* of(std::size_t k) const { return bytes.data() + k * each; }
  [[nodiscard]] std::uint64_t word(std::size_t k, std::size_t index) const {
    std::uint64_t w;
    std::memcpy(&w, of(k) + index * sizeof w, sizeof w);
    return w;
  }
  [[nodiscard]] std::optional<difference> first_difference() const {
    for (std::size_t i = 0; i < each / sizeof(std::uint64_t); ++i) {
      for (std::size_t k = 1; k < roster.size(); ++k) {
        if (word(k, i) != word(0, i)) return difference{i, roster[k]};
      }
    }
    return std::nullopt;
  }
  /// Index of this rank in the roster.
  [[nodiscard]] std::size_t place_of(int rank) const {
    std::size_t k = 0;
    while (k + 1 < roster.size() && roster[k] != rank) ++k;
    return k;
  }
};

/// Gathers `mine`, a multiple of 8 bytes, from every rank. Collective; waits; allocates.
result<gathered> gather_bytes(transport_link const& over, std::span<std::byte const> mine, exchange_tag tag,
                              deadline limit);

/// Gathers `mine` from every rank and compares. Collective; allocates. Every rank gets the same answer.
result<std::optional<difference>> first_difference(transport_link const& over,
                                                   std::span<std::uint64_t const> mine, exchange_tag tag,
                                                   deadline limit);

/// One number or name that all ranks must agree on before round 0: its label, such as "outer optimizer's lr",
/// and this rank's value.
struct contract_field {
  std::string label, value;
  [[nodiscard]] std::uint64_t fingerprint() const {
    hash64 h;
    h.add(label);
    h.add(value);
    return h.value();
  }
};

/// Fields that are first compared as one number. Texts name values exactly, so equal texts mean equal values.
struct contract_term {
  std::string name;
  std::vector<contract_field> fields;
  [[nodiscard]] std::uint64_t fingerprint() const {
    hash64 h;
    for (contract_field const& f : fields) h.add(f.fingerprint());
    return h.value();
  }
};

/// The name of a policy and each of its numbers.
contract_term term_of(std::string role, listed_policy const& policy);

/// The policies of a recipe, and what they are called in messages about settings and about other ranks.
struct policy_role {
  std::string_view setting, term;
};
inline constexpr std::array<policy_role, 9> policy_roles{{{"inner", "inner optimizer"},
                                                          {"outer", "outer optimizer"},
                                                          {"compressor", "compressor"},
                                                          {"feedback", "feedback"},
                                                          {"combine", "combine rule"},
                                                          {"exchange", "exchange"},
                                                          {"schedule", "schedule"},
                                                          {"rate", "learning rate"},
                                                          {"signal", "signal"}}};
using listed_policies = std::array<listed_policy, policy_roles.size()>;
/// The first validation error, or an empty text.
std::string policies_error(listed_policies const& all);

/// The properties of the build and the floating-point unit that affect bits and the sequence of exchanges.
contract_term build_term(std::uint32_t float_modes);

namespace detail {

/// Replaces the first fingerprint of a rank that cannot be constructed.
inline constexpr std::uint64_t refuses = ~std::uint64_t{0};
enum contract_phase : std::uint32_t {
  terms_phase = 10,
  tensors_phase,
  fields_phase,
  texts_phase,
  adopt_phase,
  run_phase,
  save_phase,
  named_phase,
  resume_phase
};

/// What ranks send each other after a difference was found. Fixed size; longer texts are cut.
struct contract_text {
  static constexpr std::size_t label_room = 128, value_room = 384;
  std::array<char, label_room> label{};
  std::array<char, value_room> value{};

  contract_text() = default;
  DILOCO_COLD contract_text(std::string_view l, std::string_view v) {
    cut(l, label_room - 1).copy(label.data(), label_room - 1);
    cut(v, value_room - 1).copy(value.data(), value_room - 1);
  }
  explicit contract_text(std::byte const* from) {
    std::memcpy(label.data(), from, label_room);
    std::memcpy(value.data(), from + label_room, value_room);
    label.back() = value.back() = 0;  // terminate the texts, whatever was sent
  }
  [[nodiscard]] std::span<std::byte const> bytes() const { return std::as_bytes(std::span(this, 1)); }
};
static_assert(sizeof(contract_text) == 512);

/// Makes "rank 2 refused: …" from the texts of all ranks. Only a rank that refuses has a value.
error refusal_of(gathered const& texts, int own);

error disagreement_of(gathered const& texts, int other, int own, std::string_view term);

/// Finds the first field on which a rank differs, 32 fingerprints at a time. Collective; all ranks know that
/// such a field exists.
result<difference> differing_field(transport_link const& over, contract_term const& term, deadline limit);

}  // namespace detail

/// Compares the terms of all ranks. Collective. The error is the same on every rank. It names the first field
/// on which a rank differs from rank 0, with both values, or quotes a rank that refuses.
/// If all agree, it costs one exchange of 8 B per term. Otherwise one of 256 B per 32 fields and one of 512 B
/// follow.
result<> agree(transport_link const& over, std::vector<contract_term> const& terms, std::uint32_t phase,
               deadline limit);

/// A rank that cannot be constructed calls this instead of `agree`, with the same number of terms. The others
/// get `sentence`. Collective; waits for the others.
/// Its own failures are dropped, because the caller already has an error.
void refuse(transport_link const& over, std::string_view sentence, std::size_t terms, deadline limit);

/// A number that two runs do not share, made of all ranks' clocks and an address of each. Messages carry it,
/// so that a message of another run is detected. Collective.
result<std::uint64_t> agree_on_run(transport_link const& over, void const* mine, deadline limit);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/wire/contract_definitions.hpp>
#endif
