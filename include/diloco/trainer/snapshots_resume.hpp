// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/snapshots.hpp>

#include <algorithm>

// The half of snapshots that reads.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE result<resumed> snapshots::resume(std::string const& folder,
                                                          resume_options const& o) {
  if (auto fine = core_.rounds->usable(); !fine) return std::move(fine).error();
  if (auto fine = core_.run.shows_training_point("resume"); !fine) return std::move(fine).error();
  if (auto fine = core_.rounds->all_landed("resume"); !fine) return std::move(fine).error();
  return core_.run.guard("resume", [&] { return find_and_load(folder, o); });
}

DILOCO_COLD DILOCO_CORE result<resumed> snapshots::find_and_load(std::string const& folder,
                                                                 resume_options const& o) {
  resumed out;
  auto found = find(folder, o, out);
  if (!found) return std::move(found).error();
  if (!*found) return out;
  auto checked = check(**found, o, out);
  std::string const label = "snapshot to resume";
  std::string const outcome = checked ? identity(**found) : checked.error().message;
  auto same = core_.agree_on_outcome({{label, {{label, outcome}}}}, detail::resume_phase);
  if (!checked) return std::move(checked).error();
  if (!same) return std::move(same).error();
  if (auto fine = load(**found, out); !fine) return core_.run.ends(std::move(fine).error());
  note_runs(folder, **found, o);
  out.steps = core_.run.steps;
  out.rounds = core_.run.rounds;
  out.ranks = (*found)->name.ranks;
  return out;
}

DILOCO_COLD DILOCO_CORE std::vector<char> snapshots::open_in(safetensors::contents const& c) const {
  std::vector<char> open(core_.rounds->flights().size());
  for (std::size_t i = 0; i < open.size(); ++i)
    open[i] = detail::number_in(c, say({"fragment.", i, ".open"})) == std::uint64_t{1} ? 1 : 0;
  return open;
}

/// In the order in which they were written.
DILOCO_COLD DILOCO_CORE std::vector<std::string> snapshots::contract_in(safetensors::contents const& c) {
  std::vector<std::string> all;
  constexpr std::string_view key = "contract.";
  for (auto const& [name, line] : c.notes) {
    std::string_view left = std::string_view(name);
    std::uint64_t at = 0;
    if (!left.starts_with(key)) continue;
    left.remove_prefix(key.size());
    if (!detail::take_number(left, at, "") || at >= c.notes.size()) continue;
    if (at >= all.size()) all.resize(static_cast<std::size_t>(at) + 1);
    all[static_cast<std::size_t>(at)] = line;
  }
  return all;
}

/// By their names, because a policy of another type has other numbers.
DILOCO_COLD DILOCO_CORE result<> snapshots::compare_settings(candidate const& c, resume_options const& o,
                                                             resumed& out) const {
  auto const mine = contract(c.name.ranks == ranks_);
  auto const label = [](std::string_view line) { return line.substr(0, line.find(" = ")); };
  auto const differ = [&](std::string const& theirs, std::string const& here) -> result<> {
    bool const may = o.other_settings && !theirs.starts_with("tensor") && !here.starts_with("tensor");
    if (may) {
      out.changed.push_back(say({"'", theirs, "' became '", here, "'"}));
      return {};
    }
    return refuse("resume",
                  say({"'", c.file->path(), "' was saved by another recipe or of other tensors. It has '",
                       theirs, "', and this trainer has '", here, "'"}),
                  cause::bad_file);
  };
  std::vector<std::string> const theirs = contract_in(c.file->holds());
  auto const counterpart = [&](std::vector<std::string> const& in, std::string const& line) {
    auto const at =
        std::find_if(in.begin(), in.end(), [&](auto const& l) { return label(l) == label(line); });
    return at == in.end() ? std::string("nothing of the kind") : *at;
  };
  if (mine == theirs) return {};
  for (std::string const& line : theirs) {
    if (line.starts_with("pattern of the exchange = ") && c.name.ranks != ranks_) continue;
    if (std::string const here = counterpart(mine, line); here != line) {
      if (auto fine = differ(line, here); !fine) return fine;
    }
  }
  for (std::string const& line : mine) {
    if (std::string const there = counterpart(theirs, line); label(there) != label(line)) {
      if (auto fine = differ(there, line); !fine) return fine;
    }
  }
  return {};
}

/// Whether the file fits this trainer. Changes nothing.
DILOCO_COLD DILOCO_CORE result<> snapshots::check(candidate const& c, resume_options const& o,
                                                  resumed& out) const {
  safetensors::contents const& holds = c.file->holds();
  auto const wrong = [&](std::initializer_list<piece> why) {
    return refuse("resume", say({"'", c.file->path(), "' ", say(why)}), cause::bad_file);
  };
  auto const version = detail::number_in(holds, "diloco snapshot");
  if (!version || !detail::number_in(holds, "run")) return wrong({"is no snapshot of diloco"});
  if (*version != format)
    return wrong({"has the format ", *version, ", and this version reads ", format,
                  "; resume with the version "
                  "that saved it"});
  bool const same_ranks = c.name.ranks == ranks_;
  if (auto fine = compare_settings(c, o, out); !fine) return fine;
  if (detail::number_in(holds, "fragments") != core_.rounds->flights().size())
    return wrong({"has another number of fragments than the ", core_.rounds->flights().size(), " here"});
  auto const open = open_in(holds);
  std::string missing;
  for_each_number(open, [&](std::string const& name, auto const&) {
    if (missing.empty() && !detail::number_in(holds, name)) missing = name;
  });
  if (!missing.empty()) return wrong({"lacks the number '", missing, "'"});
  for (std::size_t f = 0; f < open.size(); ++f) {
    auto const partner = detail::number_in(holds, say({"fragment.", f, ".flight.partner"}));
    if (partner && *partner >= static_cast<std::uint64_t>(ranks_) && same_ranks)
      return wrong({"names rank ", *partner, " of ", ranks_, " as a partner"});
  }
  for (std::size_t f = 0; f < open.size() && !(same_ranks && out.changed.empty()); ++f) {
    if (open[f] != 0)
      return wrong({"was saved with a round under way, which only ", c.name.ranks,
                    " ranks of the same settings can land; call sync() before save()"});
  }
  auto matched = match(c, open);
  return matched ? result<>{} : result<>{std::move(matched).error()};
}

/// Whether another rank may combine a shard now, or other shards exist: there are other ranks, or another
/// exchange.
DILOCO_COLD DILOCO_CORE bool snapshots::shards_moved(candidate const& c) const {
  if (c.name.ranks != ranks_) return true;
  auto const of_exchange = [](std::vector<std::string> const& all) {
    std::vector<std::string> some;
    for (std::string const& line : all) {
      if (line.starts_with("exchange") || line.starts_with("pattern of the exchange")) some.push_back(line);
    }
    return some;
  };
  return of_exchange(contract(true)) != of_exchange(contract_in(c.file->holds()));
}

/// Where the file holds each part of this trainer. Between other numbers of ranks, what the owner of a
/// shard keeps is no part of that.
DILOCO_COLD DILOCO_CORE result<std::vector<snapshots::source>> snapshots::match(
    candidate const& c, std::vector<char> const& open) const {
  auto const wrong = [&](std::string_view name, std::string_view why) {
    return refuse("resume", say({"'", c.file->path(), "': the tensor '", name, "' ", why}), cause::bad_file);
  };
  bool const moved = shards_moved(c);
  auto const of_a_shard = [&](std::string_view name) { return moved && name.starts_with("owner_"); };
  auto const all = parts(open);
  std::vector<source> found;
  std::uint64_t at = 0;
  auto next = all.begin();
  for (safetensors::entry const& e : c.file->holds().entries) {
    std::uint64_t const begin = at, bytes = *safetensors::tensor_bytes(e.type, e.shape);
    at += bytes;
    if (e.name == "user" || of_a_shard(e.name)) continue;
    while (next != all.end() && of_a_shard(next->name)) ++next;
    if (next == all.end()) return wrong(e.name, "is unknown here");
    if (e.name != next->name) return wrong(next->name, "is missing");
    if (e.type != next->type || e.shape != next->shape)
      return wrong(e.name, "has another type or shape here");
    found.push_back({*next++, begin});
  }
  while (next != all.end() && of_a_shard(next->name)) ++next;
  if (next != all.end()) return wrong(next->name, "is missing");
  return found;
}

DILOCO_COLD DILOCO_CORE bool snapshots::starts_with_zeros(state_column const& c,
                                                          candidate const& from) const {
  if (shards_moved(from) && c.name().starts_with("owner_")) return true;
  if (from.name.ranks == ranks_) return false;
  bool estimates = false;
  for (auto const& other : core_.state->all())
    estimates = estimates || other->kind() == column_kind::estimate;
  if (c.kind() == column_kind::estimate) return true;  // the mean over other ranks
  return c.kind() == column_kind::residual && (estimates || rank_ >= from.name.ranks);
}

DILOCO_COLD DILOCO_CORE result<> snapshots::load(candidate const& c, resumed& out) {
  auto const open = open_in(c.file->holds());
  for (auto const& f : core_.rounds->flights()) {
    if (auto fine = core_.rounds->take_back(*f); !fine) return fine;
    f->sent = f->messages[0]->to_send();
  }
  for (auto const& column : core_.state->all()) std::fill(column->swaps().begin(), column->swaps().end(), 0);
  if (auto fine = load_parts(c, open, out); !fine) return fine;
  for_each_number(open, [&](std::string const& name, auto& x) {
    detail::from_word(x, *detail::number_in(c.file->holds(), name));
  });
  for (std::size_t i = 0; i < open.size() && !out.changed.empty(); ++i) {
    // Another schedule may land first what it did not launch.
    if (open[i] == 0) core_.rounds->fragments()[i].landed_early = true;
  }
  if (rank_ >= c.name.ranks) {  // a copy of another rank has not worked for the round yet
    for (fragment_progress& p : core_.rounds->fragments()) p.weight = 0;
  }
  for (auto const& column : core_.state->all()) {
    if (column->kind() == column_kind::scratch || !starts_with_zeros(*column, c)) continue;
    out.set_to_zero.emplace_back(column->name());
    std::fill(column->swaps().begin(), column->swaps().end(), 0);
    for (auto const floats : {column->first(), column->second()}) {
      zero_kernel const zero{floats.data(), floats.size()};
      if (!floats.empty()) core_.where_.for_each(zero.tiles(), zero);
    }
  }
  core_.where_.wait();
  return send_open_rounds(open);
}

DILOCO_COLD DILOCO_CORE result<> snapshots::load_parts(candidate const& c, std::vector<char> const& open,
                                                       resumed& out) {
  buffer const memory = safetensors::detail::allocate(snapshot_part_bytes);
  if (memory.data() == nullptr) return refuse("resume", "there is no memory left", cause::bad_file);
  auto const all = match(c, open);
  if (!all) return all.error();
  for (source const& s : *all) {
    if (auto fine = load_part(*c.file, s.at, s.to, memory.bytes()); !fine) return fine;
  }
  std::uint64_t at = 0;
  for (safetensors::entry const& e : c.file->holds().entries) {
    std::uint64_t const bytes = *safetensors::tensor_bytes(e.type, e.shape);
    if (e.name == "user") {
      out.user.resize(static_cast<std::size_t>(bytes));
      return c.file->read(at, out.user);
    }
    at += bytes;
  }
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshots::load_part(snapshot_reader const& file, std::uint64_t at,
                                                      part const& p, std::span<std::byte> through) const {
  for (std::size_t done = 0; done < p.bytes;) {
    auto const some = through.first(std::min(through.size(), p.bytes - done));
    if (auto fine = file.read(at + done, some); !fine) return fine;
    copy(p.at + done, some.data(), some.size(), p.on_host, false);
    done += some.size();
  }
  return {};
}

/// In the order of their launches, as the run that saved them did.
DILOCO_COLD DILOCO_CORE result<> snapshots::send_open_rounds(std::vector<char> const& open) const {
  std::vector<round_flight*> all;
  for (std::size_t i = 0; i < open.size(); ++i) {
    if (open[i] != 0) all.push_back(core_.rounds->flights()[i].get());
  }
  std::sort(all.begin(), all.end(), [](auto const* a, auto const* b) { return a->order < b->order; });
  for (round_flight* const f : all) {
    f->by_hand = false;
    f->wait_seconds = 0, f->total_weight = -1;
    if (auto fine = core_.rounds->send_again(*f); !fine) return fine;
  }
  return {};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
