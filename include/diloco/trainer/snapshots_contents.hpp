// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/snapshots.hpp>

#include <algorithm>
#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

DILOCO_COLD DILOCO_CORE std::optional<std::uint64_t> number_in(safetensors::contents const& c,
                                                               std::string_view note) {
  std::string const* const text = c.note(note);
  if (text == nullptr || text->empty() || text->size() > 20) return {};
  std::uint64_t n = 0;
  for (char digit : *text) {
    if (digit < '0' || digit > '9') return {};
    n = n * 10 + static_cast<std::uint64_t>(digit - '0');
  }
  return n;
}

}  // namespace detail

/// The number of the run that saved a file; nothing if it is damaged.
DILOCO_COLD DILOCO_CORE std::optional<std::uint64_t> snapshots::run_that_saved(std::string const& path) {
  snapshot_reader file;
  if (!file.open(path)) return {};
  return detail::number_in(file.holds(), "run");
}

template <class Visit>
void snapshots::for_each_number(std::vector<char> const& open, Visit&& visit) const {
  run_state& run = core_.run;
  visit("steps", run.steps);
  visit("rounds", run.rounds);
  visit("current_round", run.current_round);
  visit("steps_taken", run.steps_taken);
  visit("samples", run.samples);
  visit("skipped_in_a_row", run.skipped_in_a_row);
  visit("rounded_by.round", run.rounded_by.round);
  visit("rounded_by.rank", run.rounded_by.rank);
  visit("rounded_by.phase", run.rounded_by.phase);
  visit("launches", core_.rounds->launches());
  for (std::size_t i = 0; i < open.size(); ++i) {
    auto const named = [&](std::string_view what) { return say({"fragment.", i, ".", what}); };
    fragment_progress& p = core_.rounds->fragments()[i];
    visit(named("round"), p.round);
    visit(named("history"), p.history);
    visit(named("weight.bits"), p.weight);
    visit(named("stepped"), p.stepped);
    visit(named("landed_early"), p.landed_early);
    visit(named("at_anchor"), p.at_anchor);
    visit(named("must_move"), p.must_move);
    if (open[i] == 0) continue;
    round_flight& f = *core_.rounds->flights()[i];
    visit(named("flight.number"), f.number);
    visit(named("flight.order"), f.order);
    visit(named("flight.partner"), f.partner);
    visit(named("flight.counted_steps"), f.counted_steps);
    visit(named("flight.steps_taken"), f.steps_taken);
    visit(named("flight.weight.bits"), f.weight);
    visit(named("flight.stepped"), f.stepped);
    if (core_.rounds->facts().eager) visit(named("flight.early"), f.early);
  }
}

/// θ as it is trained, and the caller's own tensors where θ is a copy of them.
DILOCO_COLD DILOCO_CORE void snapshots::add_rows(std::vector<part>& all) const {
  auto const add = [&](std::string_view what, layout::row const& r, safetensors::dtype type, void* at) {
    all.push_back({say({what, "/", r.name}), type, r.shape, static_cast<std::byte*>(at),
                   r.size * safetensors::bytes_of(type), false});
  };
  for (layout::row const& r : core_.model.rows()) {
    if (r.frozen) continue;
    add("theta", r, safetensors::dtype::f32, r.data);
    if (r.bf16 != nullptr) add("caller", r, safetensors::dtype::bf16, r.bf16);
    if (r.samples != nullptr) add("caller", r, safetensors::dtype::f32, r.samples);
  }
}

/// A column of rows as one tensor per row. Another column as both its buffers.
DILOCO_COLD DILOCO_CORE void snapshots::add_column(std::vector<part>& all, state_column& c,
                                                   std::vector<char> const& open) const {
  using safetensors::dtype;
  auto const add = [&](std::string name, dtype type, std::vector<std::size_t> shape, void* at,
                       std::size_t bytes, bool on_host) {
    all.push_back({std::move(name), type, std::move(shape), static_cast<std::byte*>(at), bytes, on_host});
  };
  bool const two = !c.second().empty();
  if (c.order().what == column_order::own) {
    add(std::string(c.name()), dtype::f32, {c.floats()}, c.first().data(), c.first().size_bytes(), false);
    if (!two) return;
    add(say({c.name(), ".second"}), dtype::f32, {c.floats()}, c.second().data(), c.second().size_bytes(),
        false);
    add(say({c.name(), ".second_is_current"}), dtype::u8, {c.swaps().size()}, c.swaps().data(),
        c.swaps().size(), true);
    return;
  }
  bool const grouped = c.order().what == column_order::group;
  for (layout::row const& r : core_.model.rows()) {
    if (r.frozen || (grouped && r.group != c.order().index)) continue;
    std::size_t const at = grouped ? r.group_column : r.column, bytes = r.size * sizeof(float);
    add(say({c.name(), "/", r.name}), dtype::f32, r.shape, c.current(r.fragment) + at, bytes, false);
    if (two && open[r.fragment] != 0)
      add(say({c.name(), ".next/", r.name}), dtype::f32, r.shape, c.next(r.fragment) + at, bytes, false);
  }
}

/// In the order of the file. `open`: which fragments have a round under way.
DILOCO_COLD DILOCO_CORE std::vector<snapshots::part> snapshots::parts(std::vector<char> const& open) const {
  using safetensors::dtype;
  std::vector<part> all;
  add_rows(all);
  for (auto const& c : core_.state->all()) {
    if (c->kind() != column_kind::scratch && c->kind() != column_kind::theta) add_column(all, *c, open);
  }
  if (auto const stepped = core_.policies_.tensor_steps(); !stepped.empty())
    all.push_back({"inner.stepped",
                   dtype::u8,
                   {stepped.size()},
                   reinterpret_cast<std::byte*>(stepped.data()),
                   stepped.size(),
                   true});
  if (auto const row = core_.policies_.row_beyond_limit(); !row.empty())
    all.push_back({"row_beyond_limit",
                   dtype::u32,
                   {1},
                   reinterpret_cast<std::byte*>(row.data()),
                   sizeof(std::uint32_t),
                   false});
  for (std::size_t i = 0; i < open.size(); ++i) {
    if (open[i] == 0) continue;
    round_flight const& f = *core_.rounds->flights()[i];
    std::size_t const bytes = static_cast<std::size_t>(f.plan.shards()) * f.plan.slot_bytes();
    all.push_back(
        {say({"message/", i}), dtype::u8, {bytes}, f.sent, bytes, !core_.over_.messages_on_device()});
  }
  std::sort(all.begin(), all.end(), [](part const& a, part const& b) {
    return a.type != b.type ? a.type > b.type : a.name < b.name;
  });
  return all;
}

/// What must be equal for a snapshot to be loaded: settings and tensors, not the build.
DILOCO_COLD DILOCO_CORE std::vector<std::string> snapshots::contract(bool same_ranks) const {
  std::vector<std::string> all;
  for (contract_term const& t : core_.contract_terms()) {
    if (t.name == "build") continue;
    for (contract_field const& f : t.fields) {
      if (f.label == "number of steps before the first round") continue;
      if (f.label == "pattern of the exchange" && !same_ranks) continue;
      all.push_back(say({f.label, " = ", f.value}));
    }
  }
  for (std::size_t r = 0; r < core_.model.rows().size(); ++r)
    all.push_back(say({"tensor ", r, " = ", core_.model.text(r)}));
  return all;
}

DILOCO_COLD DILOCO_CORE void snapshots::copy(std::byte* to, std::byte const* from, std::size_t bytes,
                                             bool on_host, bool to_host) const {
  if (on_host || core_.where_.columns_on_host()) {
    std::memcpy(to, from, bytes);
    return;
  }
  if (to_host)
    core_.where_.copy_to_host(to, from, bytes);
  else
    core_.where_.copy_from_host(to, from, bytes);
  core_.where_.wait();
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
