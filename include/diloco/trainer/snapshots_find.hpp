// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/snapshots.hpp>

#include <algorithm>

// Which snapshot all ranks resume from.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

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

/// What this run may remove from the folder. A file whose writer was killed gets its name now.
DILOCO_COLD DILOCO_CORE void snapshots::note_runs(std::string const& folder, candidate const& c,
                                                  resume_options const& o) {
  core_.resumed_newest = !o.step;
  std::string const name = say({folder, "/", c.name.text()});
  if (c.path != name && c.name.ranks == ranks_ && ::rename(c.path.c_str(), name.c_str()) == 0)
    detail::sync_folder(folder);
  auto const names = snapshot_name::in(folder);
  for (std::size_t i = 0; names && i < names->size(); ++i) {
    if ((*names)[i].rank != rank_) continue;
    if (auto const run = run_that_saved(say({folder, "/", (*names)[i].text()})))
      core_.earlier_runs.push_back(*run);
  }
}

/// Files that this rank may load, newest first. All ranks have written theirs before the first gets its name.
/// So one whose writer was killed may be the only one of its step without a name. `other`: the newest of
/// another number of ranks.
DILOCO_COLD DILOCO_CORE result<std::vector<snapshots::candidate>> snapshots::list(
    std::string const& folder, resume_options const& o, std::uint64_t& other) const {
  auto const names = snapshot_name::in(folder);
  if (!names) return names.error();
  std::vector<candidate> all;
  auto const add = [&](snapshot_name const& n, std::string_view file) {
    candidate c{n, say({folder, "/", file})};
    if (o.step && n.step != *o.step) return;
    if (n.ranks != ranks_ && !o.other_ranks)
      other = std::max(other, c.key());
    else if (n.rank == rank_ % n.ranks)
      all.push_back(std::move(c));
  };
  for (snapshot_name const& n : *names) add(n, n.text());
  for (auto const& [n, file] : snapshot_name::unfinished_in(folder)) {
    if (n.ranks == ranks_) add(n, file);
  }
  std::stable_sort(all.begin(), all.end(),
                   [](candidate const& a, candidate const& b) { return a.key() > b.key(); });
  return all;
}

/// Reads a file, and compares it with its name.
DILOCO_COLD DILOCO_CORE result<> snapshots::open(candidate& c) const {
  c.file = std::make_unique<snapshot_reader>();
  if (auto fine = c.file->open(c.path); !fine) return fine;
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
DILOCO_COLD DILOCO_CORE void snapshots::drop_invalid(std::vector<candidate>& all, std::uint64_t bound,
                                                     resumed& out) const {
  while (!all.empty()) {
    candidate& c = all.front();
    if (c.key() <= bound) {
      if (c.file != nullptr) return;
      auto fine = open(c);
      if (fine) return;
      if (c.has_its_name()) out.passed_over.push_back(fine.error().message);
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
                                                                 std::uint64_t damaged, std::uint64_t other,
                                                                 bool may_be_empty) {
  hash64 h;
  if (!all.empty()) h.add(identity(all.front()));
  auto const named = std::count_if(all.begin(), all.end(), [](auto const& c) { return c.has_its_name(); });
  std::uint64_t const mine[6] = {all.empty() ? 0 : all.front().key(),
                                 h.value(),
                                 damaged,
                                 other,
                                 static_cast<std::uint64_t>(named),
                                 may_be_empty ? 1u : 0u};
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
    out.named += each->word(k, 4);
    out.may_be_empty = out.may_be_empty && each->word(k, 5) != 0;
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
    drop_invalid(all, bound, out);
    auto const h = hear(all, out.passed_over.size(), other, o.may_be_empty && !o.step);
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
    // A process that was killed in the first save leaves nothing with a name.
    bool const empty = h->named == 0 && h->damaged == 0 && h->other == 0;
    if (h->least == 0 && empty && h->may_be_empty) return std::optional<candidate>{};
    if (h->least == 0) return none_found(folder, o, out, h->other);
    bound = found ? h->least - 1 : h->least;
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
