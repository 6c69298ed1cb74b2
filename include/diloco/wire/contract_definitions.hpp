// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/wire/contract.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE contract_term term_of(std::string role, listed_policy const& policy) {
  contract_term term{std::move(role), {}};
  term.fields.push_back({term.name, policy.name});
  for (listed_field const& f : policy.fields)
    term.fields.push_back({say({term.name, "'s ", f.name}), std::string(f.text.view())});
  if (!policy.bytes.empty()) {
    std::string bytes;
    for (std::byte b : policy.bytes) bytes += say({bytes.empty() ? "" : " ", static_cast<unsigned>(b)});
    term.fields.push_back({say({term.name, "'s bytes"}), std::move(bytes)});
  }
  return term;
}

DILOCO_COLD DILOCO_CORE std::string policies_error(listed_policies const& all) {
  std::string found;
  for (std::size_t i = 0; i < all.size() && found.empty(); ++i)
    found = field_error(policy_roles[i].setting, all[i]);
  return found;
}

DILOCO_COLD DILOCO_CORE result<gathered> gather_bytes(transport_link const& over,
                                                      std::span<std::byte const> mine, exchange_tag tag,
                                                      deadline limit) {
  auto const ranks = static_cast<std::size_t>(over.size());
  std::size_t const bytes = mine.size(), all = bytes * ranks;
  bool const away = over.messages_on_device();
  memory_source const& memory = over.memory();
  auto const slot = over.slot(bytes, all);
  buffer const staging = away ? memory.allocate_shared(all) : buffer{};
  std::memcpy(away ? staging.data() : slot->to_send(), mine.data(), bytes);
  if (away) memory.copy_from_host(slot->to_send(), staging.data(), bytes);
  slot->start(operation::all_gather, {}, tag);
  if (auto arrived = slot->receive(limit); !arrived) {
    memory.wait();  // the staging copy may still be read
    return std::move(arrived).error();
  }
  gathered out{std::vector<std::byte>(all), {}, bytes};
  for (std::size_t k = 0; k < ranks; ++k) {
    out.roster.push_back(slot->roster()[k]);
    auto const message = slot->message(static_cast<int>(k));
    if (away)
      memory.copy_to_host(staging.data() + k * bytes, message.data(), bytes);
    else
      std::memcpy(out.bytes.data() + k * bytes, message.data(), bytes);
  }
  if (away) {
    memory.wait();
    std::memcpy(out.bytes.data(), staging.data(), all);
  }
  slot->done();
  if (auto back = slot->take_back(limit); !back) return std::move(back).error();
  return out;
}

DILOCO_COLD DILOCO_CORE result<std::optional<difference>> first_difference(
    transport_link const& over, std::span<std::uint64_t const> mine, exchange_tag tag, deadline limit) {
  auto all = gather_bytes(over, std::as_bytes(mine), tag, limit);
  if (!all) return std::move(all).error();
  return all->first_difference();
}

DILOCO_COLD DILOCO_CORE contract_term build_term(std::uint32_t float_modes) {
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

DILOCO_COLD DILOCO_CORE error refusal_of(gathered const& texts, int own) {
  for (std::size_t k = 0; k < texts.roster.size(); ++k) {
    contract_text const t(texts.of(k));
    if (t.value[0] != 0) {
      return {cause::peer_lost, own, 0,
              say({"diloco: rank ", texts.roster[k], " refused: ", t.value.data()})};
    }
  }
  return {cause::peer_lost, own, 0, "diloco: a rank refused and did not say why; look at its own error"};
}

DILOCO_COLD DILOCO_CORE error disagreement_of(gathered const& texts, int other, int own,
                                              std::string_view term) {
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

DILOCO_COLD DILOCO_CORE result<difference> differing_field(transport_link const& over,
                                                           contract_term const& term, deadline limit) {
  constexpr std::size_t chunk = 32, most = 1u << 20;
  for (std::size_t first = 0; first < most; first += chunk) {
    std::array<std::uint64_t, chunk> words{};
    for (std::size_t i = 0; i < chunk && first + i < term.fields.size(); ++i)
      words[i] = term.fields[first + i].fingerprint();
    auto found = first_difference(over, std::span<std::uint64_t const>(words), {0, fields_phase}, limit);
    if (!found) return std::move(found).error();
    if (found->has_value()) return difference{first + (*found)->index, (*found)->rank};
  }
  return error{cause::disagreement, over.rank(), 0,
               say({"diloco: contract: ranks disagree on the ", term.name, "; give all ranks the same"})};
}
}  // namespace detail

DILOCO_COLD DILOCO_CORE result<> agree(transport_link const& over, std::vector<contract_term> const& terms,
                                       std::uint32_t phase, deadline limit) {
  std::vector<std::uint64_t> words;
  for (contract_term const& t : terms) words.push_back(t.fingerprint());
  auto all = gather_bytes(over, std::as_bytes(std::span(words)), {0, phase}, limit);
  if (!all) return std::move(all).error();
  auto const found = all->first_difference();
  if (!found) return {};
  auto const exchange = [&](detail::contract_text const& text) {
    return gather_bytes(over, text.bytes(), {0, detail::texts_phase}, limit);
  };
  for (std::size_t k = 0; k < all->roster.size() && phase == detail::terms_phase; ++k) {
    if (all->word(k, 0) != detail::refuses) continue;
    auto texts = exchange({});
    return texts ? detail::refusal_of(*texts, over.rank()) : std::move(texts).error();
  }
  contract_term const& term = terms[found->index];
  auto const field = detail::differing_field(over, term, limit);
  if (!field) return field.error();
  auto texts =
      exchange(field->index < term.fields.size()
                   ? detail::contract_text(term.fields[field->index].label, term.fields[field->index].value)
                   : detail::contract_text("", "nothing more"));
  return texts ? detail::disagreement_of(*texts, field->rank, over.rank(), term.name)
               : std::move(texts).error();
}

DILOCO_COLD DILOCO_CORE void refuse(transport_link const& over, std::string_view sentence, std::size_t terms,
                                    deadline limit) {
  if (over.size() == 1) return;
  std::vector<std::uint64_t> words(terms);
  words[0] = detail::refuses;
  auto const all = gather_bytes(over, std::as_bytes(std::span(words)), {0, detail::terms_phase}, limit);
  if (!all || !all->first_difference()) return;  // no rank is left, or every rank refuses itself
  detail::contract_text const text("", sentence);
  static_cast<void>(gather_bytes(over, text.bytes(), {0, detail::texts_phase}, limit));
}

DILOCO_COLD DILOCO_CORE result<std::uint64_t> agree_on_run(transport_link const& over, void const* mine,
                                                           deadline limit) {
  hash64 own, all;
  own.add(static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()));
  own.add(static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count()));
  own.add(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(mine)));
  std::uint64_t const word = own.value();
  auto const each = gather_bytes(over, std::as_bytes(std::span(&word, 1)), {0, detail::run_phase}, limit);
  if (!each) return each.error();
  for (std::size_t k = 0; k < each->roster.size(); ++k) all.add(each->word(k, 0));
  return all.value();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
