// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/snapshots_contents.hpp>

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
  core_.resumed_newest = !o.step;
  auto const names = snapshot_name::in(folder);
  for (std::size_t i = 0; names && i < names->size(); ++i) {
    if ((*names)[i].rank != rank_) continue;
    if (auto const run = run_that_saved(say({folder, "/", (*names)[i].text()})))
      core_.earlier_runs.push_back(*run);
  }
  out.steps = core_.run.steps;
  out.rounds = core_.run.rounds;
  out.ranks = (*found)->name.ranks;
  return out;
}

/// Files that this rank may load, newest first. `other`: the newest of another number of ranks.
DILOCO_COLD DILOCO_CORE result<std::vector<snapshots::candidate>> snapshots::list(
    std::string const& folder, resume_options const& o, std::uint64_t& other) const {
  auto const names = snapshot_name::in(folder);
  if (!names) return names.error();
  std::vector<candidate> all;
  for (snapshot_name const& n : *names) {
    candidate c{n, nullptr};
    if (o.step && n.step != *o.step) continue;
    if (n.ranks != ranks_ && !o.other_ranks)
      other = std::max(other, c.key());
    else if (n.rank == rank_ % n.ranks)
      all.push_back(std::move(c));
  }
  return all;
}

/// Reads a file, and compares it with its name.
DILOCO_COLD DILOCO_CORE result<> snapshots::open(candidate& c, std::string const& folder) const {
  c.file = std::make_unique<snapshot_reader>();
  if (auto fine = c.file->open(say({folder, "/", c.name.text()})); !fine) return fine;
  if (auto fine = c.file->verify(); !fine) return fine;
  auto const number = [&](std::string_view name) {
    return detail::number_in(c.file->holds(), name).value_or(~std::uint64_t{0});
  };
  if (number("diloco snapshot") != format) return {};  // `check` says why
  if (number("steps") == c.name.step && number("rank") == static_cast<std::uint64_t>(c.name.rank) &&
      number("ranks") == static_cast<std::uint64_t>(c.name.ranks))
    return {};
  return error{cause::bad_file, 0, 0,
               say({"diloco: snapshot '", c.file->path(), "': is that of step ", number("steps"), ", rank ",
                    number("rank"), " of ", number("ranks"), ", under another name"})};
}

/// Makes the first of `all` the newest valid snapshot up to a bound.
DILOCO_COLD DILOCO_CORE void snapshots::drop_invalid(std::vector<candidate>& all, std::string const& folder,
                                                     std::uint64_t bound, resumed& out) const {
  while (!all.empty()) {
    candidate& c = all.front();
    if (c.key() <= bound) {
      if (c.file != nullptr) return;
      auto fine = open(c, folder);
      if (fine) return;
      out.passed_over.push_back(fine.error().message);
    }
    all.erase(all.begin());
  }
}

DILOCO_COLD DILOCO_CORE error snapshots::none_found(std::string const& folder, resume_options const& o,
                                                    resumed const& out, std::uint64_t other) const {
  std::string why =
      say({"'", folder, "' holds no snapshot ", o.step ? say({"of step ", *o.step, " "}) : std::string{},
           o.other_ranks ? std::string{} : say({"of ", ranks_, ranks_ == 1 ? " rank " : " ranks "}),
           "that every rank can read"});
  if (other != 0) why += "; " + other_text(other);
  if (!out.passed_over.empty()) why += "; " + out.passed_over.front();
  return refuse("resume", why, cause::bad_file);
}

DILOCO_COLD DILOCO_CORE std::string snapshots::other_text(std::uint64_t key) {
  std::uint64_t const ranks = key & 0xfffff;
  return say({"there is one of step ", (key >> 20) - 1, " of ", ranks, ranks == 1 ? " rank" : " ranks",
              "; start as many, or say other_ranks"});
}

/// What all ranks have found, in order.
DILOCO_COLD DILOCO_CORE result<snapshots::heard> snapshots::hear(std::vector<candidate> const& all,
                                                                 std::uint64_t damaged, std::uint64_t other) {
  hash64 h;
  if (!all.empty()) h.add(identity(all.front()));
  std::uint64_t const mine[4] = {all.empty() ? 0 : all.front().key(), h.value(), damaged, other};
  auto const each = gather_bytes(core_.over_, std::as_bytes(std::span(mine)), {0, detail::resume_phase},
                                 deadline_after(core_.facts_.deadline_seconds));
  if (!each) return core_.run.ends(each.error());
  heard out{mine[0], mine[0]};
  for (std::size_t k = 0; k < each->roster.size(); ++k) {
    out.least = std::min(out.least, each->word(k, 0));
    out.most = std::max(out.most, each->word(k, 0));
    out.alike = out.alike && each->word(k, 1) == each->word(0, 1);
    out.damaged += each->word(k, 2);
    out.other = std::max(out.other, each->word(k, 3));
  }
  return out;
}

DILOCO_COLD DILOCO_CORE result<std::optional<snapshots::candidate>> snapshots::find(std::string const& folder,
                                                                                    resume_options const& o,
                                                                                    resumed& out) {
  std::uint64_t other = 0;
  auto listed = list(folder, o, other);
  std::vector<candidate> all;
  if (listed)
    all = std::move(*listed);
  else
    out.passed_over.push_back(listed.error().message);
  for (std::uint64_t bound = ~std::uint64_t{0};;) {
    drop_invalid(all, folder, bound, out);
    auto const h = hear(all, out.passed_over.size(), other);
    if (!h) return h.error();
    bool const found = h->least == h->most && h->least != 0;
    if (found && h->alike && h->other > h->least)
      return refuse("resume",
                    say({"'", folder, "' holds a newer snapshot than those of ", ranks_,
                         " ranks: ", other_text(h->other), ", or name the step"}),
                    cause::bad_file);
    if (found && h->alike) return std::optional<candidate>(std::move(all.front()));
    if (found)
      out.passed_over.push_back(say({"diloco: snapshot '", all.front().file->path(),
                                     "': is of another run than those of other ranks"}));
    bool const empty = h->most == 0 && h->damaged == 0 && h->other == 0;
    if (empty && o.may_be_empty && !o.step) return std::optional<candidate>{};
    if (h->least == 0) return none_found(folder, o, out, h->other);
    bound = found ? h->least - 1 : h->least;
  }
}

DILOCO_COLD DILOCO_CORE std::vector<char> snapshots::open_in(safetensors::contents const& c) const {
  std::vector<char> open(core_.rounds->flights().size());
  for (std::size_t i = 0; i < open.size(); ++i)
    open[i] = detail::number_in(c, say({"fragment.", i, ".open"})) == std::uint64_t{1} ? 1 : 0;
  return open;
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
  std::vector<std::string> theirs;
  while (std::string const* const line = c.file->holds().note(say({"contract.", theirs.size()})))
    theirs.push_back(*line);
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
  for (std::size_t f = 0; f < open.size() && !(same_ranks && out.changed.empty()); ++f) {
    if (open[f] != 0)
      return wrong({"was saved with a round under way, which only ", c.name.ranks,
                    " ranks of the same settings can land; call sync() before save()"});
  }
  auto matched = match(c, open);
  return matched ? result<>{} : result<>{std::move(matched).error()};
}

/// Where the file holds each part of this trainer. Between other numbers of ranks, what the owner of a shard
/// keeps is no part of that.
DILOCO_COLD DILOCO_CORE result<std::vector<snapshots::source>> snapshots::match(
    candidate const& c, std::vector<char> const& open) const {
  auto const wrong = [&](std::string_view name, std::string_view why) {
    return refuse("resume", say({"'", c.file->path(), "': the tensor '", name, "' ", why}), cause::bad_file);
  };
  bool const same_ranks = c.name.ranks == ranks_;
  auto const of_a_shard = [&](std::string_view name) { return !same_ranks && name.starts_with("owner_"); };
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

/// Equal on all ranks if they may resume together: of one step, with one history of rounds. Ranks that pair
/// have none, so it must be of one run.
DILOCO_COLD DILOCO_CORE std::string snapshots::identity(candidate const& c) const {
  auto const& holds = c.file->holds();
  hash64 history;
  for (auto const& [name, text] : holds.notes) {
    bool const counts = name.ends_with(".history") || name.ends_with(".flight.number") || name == "rounds" ||
                        name == "digest of the anchor";
    if (!counts && !(name == "run" && core_.rounds->facts().legs.pairs())) continue;
    history.add(name);
    history.add(text);
  }
  return say(
      {"step ", c.name.step, " of ", c.name.ranks, " ranks, history ", detail::hex_text(history.value())});
}

DILOCO_COLD DILOCO_CORE bool snapshots::starts_with_zeros(state_column const& c,
                                                          candidate const& from) const {
  if (from.name.ranks == ranks_) return false;
  if (c.name().starts_with("owner_")) return true;  // of a shard that another rank may have now
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
