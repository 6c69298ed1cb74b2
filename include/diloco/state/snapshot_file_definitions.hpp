// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/snapshot_file.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

DILOCO_COLD DILOCO_CORE std::string hex_text(std::uint64_t x) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; x >>= 4) text[i] = "0123456789abcdef"[x & 15];
  return text;
}

DILOCO_COLD DILOCO_CORE std::string folder_of(std::string const& path) {
  auto const slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : path.substr(0, slash + 1);
}

DILOCO_COLD DILOCO_CORE void sync_folder(std::string const& folder) {
  descriptor const place(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (place) static_cast<void>(::fsync(place.get()));
}

/// Where the digest stands in a header, or npos.
DILOCO_COLD inline std::size_t digest_in(std::string_view header) {
  std::string const key = say({"\"", digest_note, "\":\""});
  auto const at = header.find(key);
  return at == std::string_view::npos || at + key.size() + 16 > header.size() ? std::string_view::npos
                                                                              : at + key.size();
}

DILOCO_COLD DILOCO_CORE bool take_number(std::string_view& text, std::uint64_t& n,
                                         std::string_view separator) {
  std::size_t digits = 0;
  n = 0;
  while (digits < text.size() && digits < 19 && text[digits] >= '0' && text[digits] <= '9')
    n = n * 10 + static_cast<std::uint64_t>(text[digits++] - '0');
  if (digits == 0 || !text.substr(digits).starts_with(separator)) return false;
  text.remove_prefix(digits + separator.size());
  return true;
}

/// Files in a folder, none if there is no folder. Nothing, and errno, if it cannot be read.
DILOCO_COLD inline std::optional<std::vector<std::string>> names_in(std::string const& folder) {
  std::vector<std::string> all;
  DIR* const open = ::opendir(folder.c_str());
  if (open == nullptr) return errno == ENOENT ? std::optional(all) : std::nullopt;
  while (dirent const* const e = ::readdir(open)) all.emplace_back(e->d_name);
  ::closedir(open);
  return all;
}

}  // namespace detail

DILOCO_CORE void byte_digest::add(std::span<std::byte const> bytes) {
  auto chains = chains_;
  std::byte const* p = bytes.data();
  std::size_t left = bytes.size();
  auto const block = [&](std::byte const* from) {
    std::uint64_t words[8];
    std::memcpy(words, from, sizeof words);
    for (std::size_t c = 0; c < 8; ++c) chains[c] = mix64(chains[c], words[c]);
  };
  for (; left >= 64; p += 64, left -= 64) block(p);
  if (left != 0) {
    std::byte last[64] = {};
    std::memcpy(last, p, left);
    block(last);
  }
  chains_ = chains;
  length_ += bytes.size();
}

DILOCO_CORE std::uint64_t byte_digest::value() const {
  hash64 h;
  h.add(length_);
  for (std::uint64_t c : chains_) h.add(c);
  return h.value();
}

DILOCO_COLD DILOCO_CORE std::string snapshot_name::text() const {
  std::string const digits = say({step});
  std::string const zeros(digits.size() < 12 ? 12 - digits.size() : 0, '0');
  return say({"step-", zeros, digits, ".rank-", rank, "-of-", ranks, ".safetensors"});
}

DILOCO_COLD DILOCO_CORE std::optional<snapshot_name> snapshot_name::of(std::string_view file) {
  std::uint64_t step = 0, rank = 0, ranks = 0;
  if (!file.starts_with("step-")) return {};
  std::string_view left = file.substr(5);
  if (!detail::take_number(left, step, ".rank-") || !detail::take_number(left, rank, "-of-") ||
      !detail::take_number(left, ranks, ".safetensors") || !left.empty() || ranks > 1'000'000 ||
      rank >= ranks)
    return {};
  snapshot_name const found{step, static_cast<int>(rank), static_cast<int>(ranks)};
  return found.text() == file ? std::optional(found) : std::nullopt;
}

DILOCO_COLD DILOCO_CORE result<std::vector<snapshot_name>> snapshot_name::in(std::string const& folder) {
  std::vector<snapshot_name> all;
  auto const names = detail::names_in(folder);
  if (!names)
    return safetensors::detail::cannot("read the folder", folder, safetensors::detail::system_reason());
  for (std::string const& text : *names) {
    if (auto const name = of(text)) all.push_back(*name);
  }
  std::sort(all.begin(), all.end(), [](snapshot_name const& a, snapshot_name const& b) {
    return a.step != b.step ? a.step > b.step : a.ranks > b.ranks;
  });
  return all;
}

DILOCO_COLD DILOCO_CORE std::vector<std::pair<snapshot_name, std::string>> snapshot_name::unfinished_in(
    std::string const& folder) {
  std::vector<std::pair<snapshot_name, std::string>> all;
  auto const names = detail::names_in(folder);
  for (std::size_t i = 0; names && i < names->size(); ++i) {
    std::string_view const text = (*names)[i];
    constexpr std::string_view end = ".safetensors";
    auto const at = text.find(end);
    if (at == std::string_view::npos || !text.ends_with(".part")) continue;
    if (auto const name = of(text.substr(0, at + end.size()))) all.emplace_back(*name, (*names)[i]);
  }
  return all;
}

DILOCO_COLD DILOCO_CORE void snapshot_name::remove_unfinished(std::string const& folder, int rank) {
  for (auto const& [name, file] : unfinished_in(folder)) {
    // Its writer may live: two runs that take one folder are told so by what they find there, later.
    std::string_view number = std::string_view(file).substr(name.text().size() + 1);
    std::uint64_t writer = 0;
    bool const known = detail::take_number(number, writer, ".part");
    bool const lives = known && writer != static_cast<std::uint64_t>(::getpid()) &&
                       (::kill(static_cast<pid_t>(writer), 0) == 0 || errno == EPERM);
    if (name.rank == rank && !lives) ::unlink(say({folder, "/", file}).c_str());
  }
}

DILOCO_COLD DILOCO_CORE snapshot_writer::snapshot_writer(std::string path)
    : path_(std::move(path)), aside_(say({path_, ".", ::getpid(), ".part"})) {}

DILOCO_COLD DILOCO_CORE snapshot_writer::~snapshot_writer() {
  if (file_) ::unlink(aside_.c_str());
}

DILOCO_COLD DILOCO_CORE error snapshot_writer::cannot(std::string_view what) const {
  if (errno == 0) errno = EIO;
  return safetensors::detail::cannot(what, path_, safetensors::detail::system_reason());
}

DILOCO_COLD DILOCO_CORE result<> snapshot_writer::open(std::string const& header) {
  if (memory_.data() == nullptr) return errno = ENOMEM, cannot("write");
  ::unlink(aside_.c_str());  // of a process with the same number that was killed
  file_ =
      detail::descriptor(::open(aside_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file_) return cannot("write");
  digest_at_ = detail::digest_in(header);
  auto left = std::as_bytes(std::span(header));
  while (!left.empty()) {
    std::size_t const n = std::min(left.size(), room().size());
    std::memcpy(room().data(), left.data(), n);
    if (auto fine = filled(n); !fine) return fine;
    left = left.subspan(n);
  }
  return {};
}

DILOCO_CORE std::span<std::byte> snapshot_writer::room() const { return memory_.bytes().subspan(used_); }

DILOCO_CORE result<> snapshot_writer::filled(std::size_t bytes) {
  used_ += bytes;
  return used_ == memory_.size() ? write_part() : result<>{};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_writer::write_part() {
  auto left = memory_.bytes().first(used_);
  digest_.add(left);
  used_ = 0;
  while (!left.empty()) {
    auto const n = ::write(file_.get(), left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cannot("write");
    left = left.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_writer::fill_in_digest() {
  std::string const text = detail::hex_text(digest_.value());
  auto const n = ::pwrite(file_.get(), text.data(), text.size(), static_cast<off_t>(digest_at_));
  return n == static_cast<ssize_t>(text.size()) ? result<>{} : result<>{cannot("write")};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_writer::finish() {
  if (auto fine = write_part(); !fine) return fine;
  if (auto fine = fill_in_digest(); !fine) return fine;
  if (::fsync(file_.get()) != 0) return cannot("write");
  {
    snapshot_reader again;
    if (auto fine = again.open(aside_); !fine) return fine;
    if (auto fine = again.verify(); !fine) return fine;
  }
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_writer::publish() {
  if (::rename(aside_.c_str(), path_.c_str()) != 0) return cannot("rename a finished file to");
  file_ = {};
  detail::sync_folder(detail::folder_of(path_));
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_reader::open(std::string path) {
  path_ = std::move(path);
  file_ = detail::descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  auto const unreadable = [&] {
    return safetensors::detail::cannot("read", path_, safetensors::detail::system_reason());
  };
  auto const invalid = [&](std::string_view why) {
    return error{cause::bad_file, 0, 0, say({"diloco: snapshot '", path_, "': ", why})};
  };
  struct stat what {};
  if (!file_ || ::fstat(file_.get(), &what) != 0) return unreadable();
  if (!S_ISREG(what.st_mode)) return invalid("is no regular file");
  bytes_ = static_cast<std::uint64_t>(what.st_size);
  std::uint64_t length = 0;
  std::vector<std::byte> start(std::min<std::uint64_t>(bytes_, sizeof length));
  if (auto fine = read_file(0, start); !fine) return fine;
  std::copy(start.begin(), start.end(), reinterpret_cast<std::byte*>(&length));
  if (start.size() == sizeof length && length <= safetensors::header_bytes_limit)
    start.resize(static_cast<std::size_t>(std::min(bytes_, sizeof length + length)));
  if (auto fine = read_file(0, start); !fine) return fine;
  safetensors::detail::reading header(start, bytes_);
  if (!header.run()) return invalid(header.validation_error());
  holds_ = header.take();
  if (!holds_.unread.empty()) return invalid("holds tensors that diloco does not write");
  data_at_ = start.size();
  digest_at_ = detail::digest_in({reinterpret_cast<char const*>(start.data()), start.size()});
  std::string const* const note = holds_.note(digest_note);
  if (note == nullptr || digest_at_ == std::string_view::npos || note->size() != 16)
    return invalid("has no digest; it is no snapshot, or another program wrote it again");
  digest_ = 0;
  for (char c : *note) digest_ = digest_ << 4 | static_cast<std::uint64_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_reader::read_file(std::uint64_t at, std::span<std::byte> to) const {
  while (!to.empty()) {
    auto const n = ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      std::string const why = n < 0 ? safetensors::detail::system_reason() : "it became shorter meanwhile";
      return safetensors::detail::cannot("read", path_, why);
    }
    at += static_cast<std::uint64_t>(n);
    to = to.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

DILOCO_COLD DILOCO_CORE result<> snapshot_reader::read(std::uint64_t at, std::span<std::byte> to) const {
  return read_file(data_at_ + at, to);
}

DILOCO_COLD DILOCO_CORE result<> snapshot_reader::verify() const {
  buffer const memory = safetensors::detail::allocate(snapshot_part_bytes);
  if (memory.data() == nullptr) return safetensors::detail::cannot("read", path_, "there is no memory");
  byte_digest found;
  for (std::uint64_t at = 0; at < bytes_; at += snapshot_part_bytes) {
    auto const part = memory.bytes().first(std::min<std::uint64_t>(snapshot_part_bytes, bytes_ - at));
    if (auto fine = read_file(at, part); !fine) return fine;
    for (std::uint64_t i = digest_at_; i < digest_at_ + 16; ++i) {  // as it was when it was hashed
      if (i >= at && i < at + part.size()) part[static_cast<std::size_t>(i - at)] = std::byte{'0'};
    }
    found.add(part);
  }
  if (found.value() == digest_) return {};
  return error{cause::bad_file, 0, 0,
               say({"diloco: snapshot '", path_, "': its bytes are not those that were written (digest ",
                    detail::hex_text(found.value()), ", written ", detail::hex_text(digest_), ")"})};
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
