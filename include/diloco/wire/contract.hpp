// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/float_modes.hpp>
#include <diloco/core/text.hpp>
#include <diloco/wire/hand_over.hpp>

#include <array>
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
  /// Of this rank.
  [[nodiscard]] std::size_t place_of(int rank) const {
    std::size_t k = 0;
    while (k + 1 < roster.size() && roster[k] != rank) ++k;
    return k;
  }
};

/// Gathers `mine`, a multiple of 8 bytes, from every rank. Collective; waits; allocates.
template <transport T, executor E>
DILOCO_COLD [[gnu::noinline]] result<gathered> gather_bytes(T& transport, E const& where,
                                                            std::span<std::byte const> mine, exchange_tag tag,
                                                            deadline limit) {
  auto const ranks = static_cast<std::size_t>(transport.size());
  std::size_t const bytes = mine.size(), all = bytes * ranks;
  wires w{allocate_wire_for<T>(where, bytes), allocate_wire_for<T>(where, T::receives_in_place ? 0 : all)};
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
  gathered out{std::vector<std::byte>(all), {}, bytes};
  for (std::size_t k = 0; k < ranks; ++k) {
    out.roster.push_back(arrived->roster()[k]);
    auto const wire = arrived->wire(static_cast<int>(k));
    if constexpr (wires_are_away<T, E>)
      where.copy_to_host(staging.data() + k * bytes, wire.data(), bytes);
    else
      std::memcpy(out.bytes.data() + k * bytes, wire.data(), bytes);
  }
  if constexpr (wires_are_away<T, E>) {
    where.wait();
    std::memcpy(out.bytes.data(), staging.data(), all);
  }
  arrived->done();
  if (auto back = std::move(*arrived).reclaim(limit); !back) return std::move(back).error();
  return out;
}

/// Gathers `mine` from every rank and compares. Collective; allocates; the same answer on every rank.
template <transport T, executor E>
DILOCO_COLD result<std::optional<difference>> first_difference(T& transport, E const& where,
                                                               std::span<std::uint64_t const> mine,
                                                               exchange_tag tag, deadline limit) {
  auto all = gather_bytes(transport, where, std::as_bytes(mine), tag, limit);
  if (!all) return std::move(all).error();
  return all->first_difference();
}

/// One number or name that all ranks must agree on before round 0: "outer optimizer's lr", and what this rank
/// has.
struct contract_field {
  std::string label, value;
  [[nodiscard]] std::uint64_t fingerprint() const {
    hash64 h;
    h.add(label);
    h.add(value);
    return h.value();
  }
};

/// Fields that are compared as one number first. Texts name values exactly, so equal texts are equal values.
struct contract_term {
  std::string name;
  std::vector<contract_field> fields;
  [[nodiscard]] std::uint64_t fingerprint() const {
    hash64 h;
    for (contract_field const& f : fields) h.add(f.fingerprint());
    return h.value();
  }
};

/// A policy's name and each of its numbers.
template <class P>
DILOCO_COLD contract_term term_of(std::string role, P const& policy) {
  static_cast<void>(detail::numbers_are_listed<P>{});
  contract_term term{std::move(role), {}};
  term.fields.push_back({term.name, std::string(std::string_view(P::name))});
  if constexpr (has_fields<P>) {
    policy.fields([&](std::string_view name, auto value, range) {
      term.fields.push_back({say({term.name, "'s ", name}), say({detail::plain_number(value)})});
    });
  } else if constexpr (!std::is_empty_v<P>) {
    std::string bytes;
    for (std::byte b : std::as_bytes(std::span(&policy, 1)))
      bytes += say({bytes.empty() ? "" : " ", static_cast<unsigned>(b)});
    term.fields.push_back({say({term.name, "'s bytes"}), std::move(bytes)});
  }
  return term;
}

/// What the build and the floating-point unit do to bits and to the sequence of exchanges.
DILOCO_COLD inline contract_term build_term(std::uint32_t float_modes) {
  auto const when = [&](std::uint32_t mode, char const* set, char const* usual) {
    return std::string((float_modes & mode) != 0 ? set : usual);
  };
  return {
      "build",
      {{"library version", say({DILOCO_VERSION_MAJOR, ".", DILOCO_VERSION_MINOR, ".", DILOCO_VERSION_PATCH})},
       {"check level DILOCO_CHECKS", say({DILOCO_CHECKS})},
       {"rounding mode (fesetround)", std::string(rounding_name(float_modes))},
       {"subnormal results (FTZ)", when(flushes_results, "flushed to zero", "kept")},
       {"subnormal operands (DAZ)", when(flushes_operands, "taken for zero", "kept")},
       {"C library's fmaf", when(rounds_fma_twice, "two roundings", "one rounding")}}};
}

namespace detail {

/// In place of the first fingerprint: this rank cannot be constructed.
inline constexpr std::uint64_t refuses = ~std::uint64_t{0};
enum contract_phase : std::uint32_t {
  terms_phase = 10,
  tensors_phase,
  fields_phase,
  texts_phase,
  adopt_phase,
  run_phase
};

/// What ranks tell each other once something differs. Fixed size; longer texts are cut.
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
    label.back() = value.back() = 0;  // whatever was sent
  }
  [[nodiscard]] std::span<std::byte const> bytes() const { return std::as_bytes(std::span(this, 1)); }
};
static_assert(sizeof(contract_text) == 512);

/// "rank 2 refused: …" from the texts of all ranks, of which those that refuse have a value.
DILOCO_COLD inline error refusal_of(gathered const& texts, int own) {
  for (std::size_t k = 0; k < texts.roster.size(); ++k) {
    contract_text const t(texts.of(k));
    if (t.value[0] != 0) {
      return {cause::peer_lost, own, 0,
              say({"diloco: rank ", texts.roster[k], " refused: ", t.value.data()})};
    }
  }
  return {cause::peer_lost, own, 0, "diloco: a rank refused and did not say why; look at its own error"};
}

DILOCO_COLD inline error disagreement_of(gathered const& texts, int other, int own, std::string_view term) {
  contract_text const ours(texts.of(0)), theirs(texts.of(texts.place_of(other)));
  int const first = texts.roster[0];
  bool const same = ours.label == theirs.label;
  auto const has = [&](contract_text const& t) {
    return same ? std::string(t.value.data())
                : say({t.label.data(), t.label[0] != 0 ? " " : "", t.value.data()});
  };
  return {cause::disagreement, own, 0,
          say({"diloco: contract: rank ", other, " and rank ", first, " disagree on the ",
               same ? std::string_view(ours.label.data()) : term, "; rank ", other, " has ", has(theirs),
               " and rank ", first, " has ", has(ours), "; give all ranks the same"})};
}

/// The first field on which a rank differs, 32 fingerprints at a time. Collective: all ranks know that there
/// is one.
template <transport T, executor E>
DILOCO_COLD result<difference> differing_field(T& transport, E const& where, contract_term const& term,
                                               deadline limit) {
  constexpr std::size_t chunk = 32, most = 1u << 20;
  for (std::size_t first = 0; first < most; first += chunk) {
    std::array<std::uint64_t, chunk> words{};
    for (std::size_t i = 0; i < chunk && first + i < term.fields.size(); ++i)
      words[i] = term.fields[first + i].fingerprint();
    auto found =
        first_difference(transport, where, std::span<std::uint64_t const>(words), {0, fields_phase}, limit);
    if (!found) return std::move(found).error();
    if (found->has_value()) return difference{first + (*found)->index, (*found)->rank};
  }
  return error{cause::disagreement, transport.rank(), 0,
               say({"diloco: contract: ranks disagree on the ", term.name, "; give all ranks the same"})};
}

}  // namespace detail

/// Collective. Error: the first field on which a rank differs from rank 0, with both values, or the sentence
/// of a rank that refuses. It is the same on every rank. If all agree, one exchange of 8 B a term; otherwise
/// one of 256 B for each 32 fields and one of 512 B follow.
template <transport T, executor E>
DILOCO_COLD result<> agree(T& transport, E const& where, std::vector<contract_term> const& terms,
                           std::uint32_t phase, deadline limit) {
  std::vector<std::uint64_t> words;
  for (contract_term const& t : terms) words.push_back(t.fingerprint());
  auto all = gather_bytes(transport, where, std::as_bytes(std::span(words)), {0, phase}, limit);
  if (!all) return std::move(all).error();
  auto const found = all->first_difference();
  if (!found) return {};
  auto const exchange = [&](detail::contract_text const& text) {
    return gather_bytes(transport, where, text.bytes(), {0, detail::texts_phase}, limit);
  };
  for (std::size_t k = 0; k < all->roster.size() && phase == detail::terms_phase; ++k) {
    if (all->word(k, 0) != detail::refuses) continue;
    auto texts = exchange({});
    return texts ? detail::refusal_of(*texts, transport.rank()) : std::move(texts).error();
  }
  contract_term const& term = terms[found->index];
  auto const field = detail::differing_field(transport, where, term, limit);
  if (!field) return field.error();
  auto texts =
      exchange(field->index < term.fields.size()
                   ? detail::contract_text(term.fields[field->index].label, term.fields[field->index].value)
                   : detail::contract_text("", "nothing more"));
  return texts ? detail::disagreement_of(*texts, field->rank, transport.rank(), term.name)
               : std::move(texts).error();
}

/// What a rank that cannot be constructed calls in place of `agree`, with the same number of terms. The
/// others get `sentence`. Collective; waits for the others. Its own failures are dropped, because the caller
/// has an error already.
template <transport T, executor E>
DILOCO_COLD void refuse(T& transport, E const& where, std::string_view sentence, std::size_t terms,
                        deadline limit) {
  if (transport.size() == 1) return;
  std::vector<std::uint64_t> words(terms);
  words[0] = detail::refuses;
  auto const all =
      gather_bytes(transport, where, std::as_bytes(std::span(words)), {0, detail::terms_phase}, limit);
  if (!all || !all->first_difference()) return;  // nobody is left, or nobody who does not know
  detail::contract_text const text("", sentence);
  static_cast<void>(gather_bytes(transport, where, text.bytes(), {0, detail::texts_phase}, limit));
}

/// A number that two runs do not share: from the clocks of all ranks and an address of each. Messages carry
/// it, so that one of another run is found. Collective.
template <transport T, executor E>
DILOCO_COLD result<std::uint64_t> agree_on_run(T& transport, E const& where, void const* mine,
                                               deadline limit) {
  hash64 own, all;
  own.add(static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()));
  own.add(static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  own.add(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(mine)));
  std::uint64_t const word = own.value();
  auto const each =
      gather_bytes(transport, where, std::as_bytes(std::span(&word, 1)), {0, detail::run_phase}, limit);
  if (!each) return each.error();
  for (std::size_t k = 0; k < each->roster.size(); ++k) all.add(each->word(k, 0));
  return all.value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
