// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/meeting.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <random>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A meeting by files in one folder. Each rank r writes a greeting with a newly drawn number to `path.r`.
/// When rank 0 has found all greetings, it publishes the bytes at `path`, together with all numbers.
/// A rank that finds its own number there takes the bytes and removes its greeting. So files of an earlier
/// run are never taken for those of this run.
class file_meeting {
 public:
  file_meeting(hello self, std::string const& path, std::span<std::byte> bytes)
      : self_(self), path_(path), bytes_(bytes), numbers_(static_cast<std::size_t>(self.size)) {
    std::random_device draw;
    self_.nonce = static_cast<std::uint64_t>(draw()) << 32 | draw() | 1;
  }

  result<> run(deadline d) {
    for (auto const& name : {path_, greeting(self_.rank)}) {
      struct stat what {};
      if (::stat(name.c_str(), &what) == 0 && !S_ISREG(what.st_mode)) return odd(name, what.st_mode);
    }
    // Removes the file of an earlier run. Ranks that still read it belong to no current run.
    if (self_.rank == 0) ::unlink(path_.c_str());
    if (auto greeted = write(greeting(self_.rank), self_.pack()); !greeted) return greeted;
    auto met = self_.rank == 0 ? lead(d) : follow(d);
    if (auto const mine = read_greeting(self_.rank); mine && mine->nonce == self_.nonce) {
      // Only this process's greeting is removed, not that of another process with the same rank.
      ::unlink(greeting(self_.rank).c_str());
    }
    return met;
  }

 private:
  static constexpr std::uint64_t record_magic = 0x3152'4f43'4f4c'4944ull;  // "DILOCOR1"
  static constexpr double between_looks = 0.01, between_words = 0.25;

  [[nodiscard]] std::string greeting(int rank) const { return say({path_, ".", rank}); }
  [[nodiscard]] error failure(cause what, std::initializer_list<piece> pieces) const {
    return {what, self_.rank, 0, say({"diloco: rendezvous: '", path_, "': "}) + say(pieces)};
  }

  /// The error for a path at which there is no regular file. Such an object is neither read nor removed.
  [[nodiscard]] error odd(std::string const& name, mode_t mode) const {
    return failure(cause::bad_file, {"'", name, "' is ",
                                     S_ISDIR(mode)    ? "a directory"
                                     : S_ISFIFO(mode) ? "a FIFO"
                                     : S_ISSOCK(mode) ? "a socket"
                                                      : "a device",
                                     " and no file of a meeting; remove it, or choose another path"});
  }

  result<> lead(deadline d) {
    std::vector<bool> has_it(numbers_.size());
    deadline next_word = deadline_after(between_words);
    for (bool published = false;; pause(between_looks, d)) {
      std::vector<int> missing, slow;
      bool changed = false;
      for (int r = 1; r < self_.size; ++r) {
        auto const i = static_cast<std::size_t>(r);
        auto const found = read_greeting(r);
        bool const there = found && found->is_of_the_world_of(self_) && found->rank == r;
        if (!there && published) has_it[i] = true;
        if (has_it[i]) continue;
        if (!there) missing.push_back(r);
        if (there && std::exchange(numbers_[i], found->nonce) != found->nonce) changed = true;
        if (there) slow.push_back(r);
      }
      if (odd_) return *odd_;
      if (missing.empty() && slow.empty() && (published || self_.size == 1)) break;
      if (missing.empty() && (changed || !published)) {
        if (auto written = write(path_, record()); !written) return written;
        published = true;
      }
      bool const last = is_past(d);
      if (!missing.empty() && (last || is_past(next_word))) {
        if (auto told = tell(missing); !told) return told;
        next_word = deadline_after(between_words);
      }
      if (last) return late(published, missing, slow);
    }
    ::unlink(path_.c_str());
    return {};
  }
  /// The ranks among `missing` that never came, or, with `left`, those that came and left.
  [[nodiscard]] absence absence_of(std::vector<int> const& missing, bool left) const {
    absence a;
    a.came = left;
    for (int r : missing) {
      if ((numbers_[static_cast<std::size_t>(r)] != 0) == left) a.add(r);
    }
    return a;
  }
  /// Writes the missing ranks after the greeting of rank 0, where the others read it, if they have changed.
  result<> tell(std::vector<int> const& missing) {
    absence const never = absence_of(missing, false);
    auto const news = (never.count != 0 ? never : absence_of(missing, true)).pack();
    if (told_ == news) return {};
    told_ = news;
    auto const head = self_.pack();
    std::vector<std::byte> text(head.size() + news.size());
    std::memcpy(text.data(), head.data(), head.size());
    std::memcpy(text.data() + head.size(), news.data(), news.size());
    return write(greeting(0), text);
  }
  /// Waits for five polls of the other ranks, so that they find what `tell` wrote. `run` then removes the
  /// greeting.
  [[nodiscard]] error late(bool published, std::vector<int> const& missing,
                           std::vector<int> const& slow) const {
    if (published) ::unlink(path_.c_str());
    std::this_thread::sleep_until(deadline_after(5 * between_looks));
    if (missing.empty()) {
      return failure(cause::timeout, {names_of(slow), " of a world of ", self_.size,
                                      " did not take what rank 0 wrote before the deadline"});
    }
    absence const never = absence_of(missing, false), left = absence_of(missing, true);
    absence const& first = never.count != 0 ? never : left;
    bool const both = never.count != 0 && left.count != 0;
    return failure(cause::timeout,
                   {first.text(self_.size), " before the deadline",
                    both ? say({"; ", names_of(left.ranks, left.count), " came and left"}) : ""});
  }

  result<> follow(deadline d) {
    for (;; pause(between_looks, d)) {
      auto const first = read_greeting(0, &missing_);
      if (odd_) return *odd_;
      was_there_ = was_there_ || (first && first->is_of_the_world_of(self_));
      if (first && first->run == self_.run && first->size != self_.size) {
        return failure(cause::disagreement, {"rank 0 has a world of ", first->size, ", rank ", self_.rank,
                                             " one of ", self_.size, " (WORLD_SIZE)"});
      }
      if (first && first->run == self_.run && first->payload != self_.payload) {
        return failure(cause::disagreement, {"rank 0 shares other bytes than rank ", self_.rank,
                                             "; run the same program on all ranks"});
      }
      if (take()) return {};
      if (auto const mine = read_greeting(self_.rank); mine && mine->nonce != self_.nonce) {
        return failure(cause::disagreement, {"rank ", self_.rank,
                                             " (RANK) is there already; each process has a rank of "
                                             "its own"});
      }
      if (is_past(d)) return late(first);
    }
  }
  [[nodiscard]] error late(std::optional<hello> const& first) const {
    auto const others = [&](std::string_view never) {
      return missing_ ? missing_->text(self_.size, never) : say({"other ranks", never});
    };
    if (!first && was_there_) {
      return failure(cause::timeout, {"rank 0 was there and is gone; ", others(" had not come")});
    }
    if (!first) return failure(cause::timeout, {"rank 0 did not come before the deadline"});
    if (first->run != self_.run) {
      return failure(cause::timeout,
                     {"there is only what another run left; rank 0 did not come before the deadline, or "
                      "has another run id"});
    }
    return failure(cause::timeout,
                   {"rank 0 is there, and ", others(" did not come"), " before the deadline"});
  }

  /// Greeting of rank 0, all numbers, the bytes and a checksum. A reader knows the length in advance.
  [[nodiscard]] std::vector<std::byte> record() const {
    auto const head = self_.pack(record_magic);
    std::vector<std::byte> text(record_length());
    std::copy(head.begin(), head.end(), text.begin());
    for (std::size_t r = 0; r < numbers_.size(); ++r) hello::put(text, hello::length + 8 * r, numbers_[r]);
    std::copy(bytes_.begin(), bytes_.end(),
              text.begin() + static_cast<long>(hello::length + 8 * numbers_.size()));
    hello::put(text, text.size() - 8, hello::sum_of(std::span(text).first(text.size() - 8)));
    return text;
  }
  [[nodiscard]] std::size_t record_length() const {
    return hello::length + 8 * numbers_.size() + bytes_.size() + 8;
  }
  bool take() {
    std::vector<std::byte> text(record_length() + 1);
    if (read(path_, text) != record_length()) return false;
    std::span<std::byte const> const all = std::span(text).first(record_length());
    hello head;
    if (!head.unpack(all.first<hello::length>(), record_magic) || head.run != self_.run ||
        head.size != self_.size ||
        hello::get(all, all.size() - 8) != hello::sum_of(all.first(all.size() - 8)) ||
        hello::get(all, hello::length + 8 * static_cast<std::size_t>(self_.rank)) != self_.nonce) {
      return false;
    }
    auto const payload = all.subspan(hello::length + 8 * numbers_.size(), bytes_.size());
    std::copy(payload.begin(), payload.end(), bytes_.begin());
    return true;
  }
  /// Reads a greeting. `who` gets the missing ranks that rank 0 wrote after its greeting, if there are any.
  [[nodiscard]] std::optional<hello> read_greeting(int rank, std::optional<absence>* who = nullptr) const {
    std::array<std::byte, hello::length + absence::length + 1> text;
    std::span<std::byte const> const all(text);
    hello found;
    std::size_t const got = read(greeting(rank), text);
    if (got != hello::length && got != hello::length + absence::length) return std::nullopt;
    if (!found.unpack(all.first<hello::length>())) return std::nullopt;
    absence names;
    if (got == hello::length) return found;
    if (!names.unpack(all.subspan<hello::length, absence::length>())) return std::nullopt;
    if (who != nullptr && found.is_of_the_world_of(self_)) *who = names;
    return found;
  }

  /// Reads up to the size of `room` and returns the number of bytes. It never asks for the length of a file.
  /// It reads regular files only.
  std::size_t read(std::string const& path, std::span<std::byte> room) const {
    descriptor const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat what {};
    if (!file && errno == ENXIO) odd_ = odd(path, S_IFSOCK);
    if (!file || ::fstat(file.get(), &what) != 0) return 0;
    if (!S_ISREG(what.st_mode)) odd_ = odd(path, what.st_mode);
    std::size_t got = 0;
    while (!odd_ && got < room.size()) {
      auto const n = ::read(file.get(), room.data() + got, room.size() - got);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
    return got;
  }
  /// Writes another file, syncs it to disk and renames it, so nobody reads half of the text. The other file's
  /// name is new, so no file exists there.
  [[nodiscard]] result<> write(std::string const& path, std::span<std::byte const> text) const {
    std::string const aside = say({path_, ".", self_.rank, ".", self_.nonce, ".part"});
    int why = errno = 0;
    {
      descriptor const file(
          ::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      bool const good = file &&
                        ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                        ::fsync(file.get()) == 0;
      if (!good) why = errno != 0 ? errno : EIO;
    }
    if (why == 0 && ::rename(aside.c_str(), path.c_str()) != 0) why = errno;
    if (why != 0) {
      ::unlink(aside.c_str());
      return error{cause::bad_file, self_.rank, 0,
                   say({"diloco: rendezvous: cannot write '", path, "': ", std::strerror(why)})};
    }
    auto const slash = path.rfind('/');
    std::string const folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    descriptor const place(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some shared file systems cannot sync a folder. The rename is valid anyway.
    if (place) (void)::fsync(place.get());
    return {};
  }

  hello self_;
  std::string const& path_;
  std::span<std::byte> bytes_;
  std::vector<std::uint64_t> numbers_;  // of the ranks that came; 0 for the others
  absence::packed told_{};
  std::optional<absence> missing_;  // the last message of rank 0
  bool was_there_ = false;          // whether rank 0 ever was
  mutable std::optional<error> odd_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
