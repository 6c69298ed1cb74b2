// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/trainer/snapshots.hpp>

#include <algorithm>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

// The half of snapshots that writes.

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Facts of this rank, which the others do not know.
DILOCO_COLD DILOCO_CORE result<> snapshots::may_save(save_options const& o) const {
  if (o.keep < 1) return refuse("save", say({"keep = ", o.keep, " must be at least 1"}), cause::bad_setting);
  if (auto fine = core_.run.shows_training_point("save"); !fine) return fine;
  for (auto const& f : core_.rounds->flights()) {
    if (!f->open) continue;
    if (f->by_hand)
      return refuse("save", say({"the caller has launched round ", f->number, " of fragment ", f->fragment,
                                 "; land it first"}));
    message_header h;
    copy(reinterpret_cast<std::byte*>(&h), f->sent, sizeof h, !core_.over_.messages_on_device(), true);
    if (h.bad_row != message_header::no_row || (h.flags & message_header::stood_still) != 0)
      return refuse("save", say({"round ", f->number, " of fragment ", f->fragment,
                                 " is under way and will be dropped; save after it has landed"}));
  }
  return {};
}

/// A file gets its name once all ranks have written theirs. Older ones go once all files have their names.
DILOCO_COLD DILOCO_CORE result<> snapshots::save(std::string const& folder, save_options const& o) {
  if (auto fine = core_.rounds->usable(); !fine) return fine;
  return core_.run.guard("save", [&]() -> result<> {
    core_.where_.wait();
    snapshot_writer file(own_file(folder));
    auto written = may_save(o);
    if (written) static_cast<void>(written = write(file, folder, o));
    auto fine = all_could(written, detail::save_phase);
    if (!fine) return fine;
    std::string const name = own_file(folder);
    bool const was_there = ::access(name.c_str(), F_OK) == 0;
    auto const named = file.publish();
    fine = all_could(named, detail::named_phase);
    if (fine) remove_old(folder, o.keep);
    // Another rank said that it lacks its file, so this one must not count as one of the newest. After a
    // transport failed, others may have removed older ones, and it stays.
    else if (named && !was_there && !core_.run.ended())
      ::unlink(name.c_str());
    return fine;
  });
}

/// This rank's error, or else that of another rank.
DILOCO_COLD DILOCO_CORE result<> snapshots::all_could(result<> const& done, std::uint32_t phase) const {
  std::string const outcome = done ? say({"a snapshot of step ", core_.run.steps}) : done.error().message;
  std::string const label = "outcome of save";
  auto fine = core_.agree_on_outcome({{label, {{label, outcome}}}}, phase);
  return done ? std::move(fine) : done;
}

DILOCO_COLD DILOCO_CORE std::string snapshots::own_file(std::string const& folder) const {
  return say({folder, "/", snapshot_name{core_.run.steps, rank_, ranks_}.text()});
}

/// What is in the folder must be of this run, or have been there when it resumed. That holds for files of any
/// number of ranks, because old ones are removed. Files of this number must not be of a later step: `resume`
/// takes the newest.
DILOCO_COLD DILOCO_CORE result<> snapshots::folder_is_ours(std::string const& folder) const {
  auto const names = snapshot_name::in(folder);
  if (!names) return names.error();
  for (snapshot_name const& n : *names) {
    if (n.rank != rank_) continue;
    auto const run = run_that_saved(say({folder, "/", n.text()}));
    if (!run) continue;  // a damaged file belongs to nobody
    auto const& earlier = core_.earlier_runs;
    if (*run != core_.rounds->run_number() &&
        std::find(earlier.begin(), earlier.end(), *run) == earlier.end())
      return refuse("save", say({"'", folder, "' holds '", n.text(),
                                 "' of another run; resume from it, or save into another folder"}));
    if (n.ranks == ranks_ && n.step > core_.run.steps && !core_.resumed_newest)
      return refuse("save",
                    say({"'", folder, "' holds '", n.text(), "', and this run is at step ", core_.run.steps,
                         "; move the later ones away, or save into another folder"}));
  }
  return {};
}

/// Names, shapes and notes. The bytes are only counted.
DILOCO_COLD DILOCO_CORE safetensors::contents snapshots::describe(std::vector<part> const& all,
                                                                  std::vector<char> const& open) const {
  safetensors::contents c;
  for (part const& p : all) c.entries.push_back({p.name, p.type, p.shape, {p.at, p.bytes}});
  auto const note = [&](std::string name, std::string text) {
    c.notes.emplace_back(std::move(name), std::move(text));
  };
  note("diloco snapshot", say({format}));
  note("diloco version", say({DILOCO_VERSION_MAJOR, ".", DILOCO_VERSION_MINOR, ".", DILOCO_VERSION_PATCH}));
  note(std::string(digest_note), std::string(16, '0'));
  note("run", say({core_.rounds->run_number()}));
  note("rank", say({rank_}));
  note("ranks", say({ranks_}));
  note("fragments", say({open.size()}));
  note("digest of the anchor",
       core_.rounds->facts().replicas_differ() ? "none: ranks differ" : detail::hex_text(core_.digest()));
  for_each_number(open,
                  [&](std::string name, auto const& x) { note(std::move(name), say({detail::as_word(x)})); });
  for (std::size_t i = 0; i < open.size(); ++i) note(say({"fragment.", i, ".open"}), open[i] ? "1" : "0");
  auto const terms = contract(true);
  for (std::size_t i = 0; i < terms.size(); ++i) note(say({"contract.", i}), terms[i]);
  return c;
}

DILOCO_COLD DILOCO_CORE result<> snapshots::write(snapshot_writer& file, std::string const& folder,
                                                  save_options const& o) const {
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    return safetensors::detail::cannot("make the folder", folder, safetensors::detail::system_reason());
  if (auto fine = folder_is_ours(folder); !fine) return fine;
  snapshot_name::remove_unfinished(folder, rank_);
  std::vector<char> open;
  for (auto const& f : core_.rounds->flights()) open.push_back(f->open ? 1 : 0);
  auto all = parts(open);
  // In the order of the file, its name is behind those of the trainer.
  all.push_back({"user",
                 safetensors::dtype::u8,
                 {o.user.size()},
                 const_cast<std::byte*>(o.user.data()),
                 o.user.size(),
                 true});
  auto holds = describe(all, open);
  auto const header = safetensors::header_of(holds);
  if (!header) return header.error();
  if (auto fine = file.open(*header); !fine) return fine;
  for (part const& p : all) {
    for (std::size_t done = 0; done < p.bytes;) {
      auto const room = file.room();
      std::size_t const n = std::min(room.size(), p.bytes - done);
      copy(room.data(), p.at + done, n, p.on_host, true);
      if (auto fine = file.filled(n); !fine) return fine;
      done += n;
    }
  }
  return file.finish();
}

/// Keeps the newest of this rank, up to the present step. Rank 0 also removes what ranks that are gone have
/// left, once it is older than all of these.
DILOCO_COLD DILOCO_CORE void snapshots::remove_old(std::string const& folder, int keep) const {
  auto const names = snapshot_name::in(folder);
  if (!names) return;
  std::uint64_t oldest = 0;
  for (snapshot_name const& n : *names) {
    if (n.rank != rank_ || n.ranks != ranks_) continue;
    bool const leftover = n.step > core_.run.steps;
    if (leftover || --keep < 0)
      ::unlink(say({folder, "/", n.text()}).c_str());
    else if (keep == 0)
      oldest = n.step;
  }
  for (snapshot_name const& n : *names) {
    bool const mine = n.rank == rank_ || (rank_ == 0 && n.rank >= ranks_);
    if (mine && n.ranks != ranks_ && n.step < oldest) ::unlink(say({folder, "/", n.text()}).c_str());
  }
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
