// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/core/descriptor.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/state/safetensors.hpp>

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Hash of bytes in eight chains, so that the multiplier is always busy: about 8 GB/s a core. A change within
/// one 64-bit word always shows. It finds accidents, not attackers.
class byte_digest {
 public:
  /// The next bytes: a multiple of 64, except in the last call.
  void add(std::span<std::byte const> bytes);
  [[nodiscard]] std::uint64_t value() const;

 private:
  std::array<std::uint64_t, 8> chains_{1, 2, 3, 4, 5, 6, 7, 8};
  std::uint64_t length_ = 0;
};

/// Which snapshot a file holds, by its name, for example "step-000000000040.rank-0-of-4.safetensors".
struct snapshot_name {
  std::uint64_t step = 0;
  int rank = 0, ranks = 1;

  [[nodiscard]] std::string text() const;
  [[nodiscard]] static std::optional<snapshot_name> of(std::string_view file);
  /// Those in a folder, newest first. An error if the folder cannot be read; none if there is no folder.
  [[nodiscard]] static result<std::vector<snapshot_name>> in(std::string const& folder);
  /// The names that files would have got whose writer was killed, and the names that they have.
  [[nodiscard]] static std::vector<std::pair<snapshot_name, std::string>> unfinished_in(
      std::string const& folder);
  /// Removes what processes of this rank left behind that were killed while they wrote.
  static void remove_unfinished(std::string const& folder, int rank);
  friend bool operator==(snapshot_name const&, snapshot_name const&) = default;
};

/// Bytes that are written, hashed and copied at once. With the header this is all the memory that writing and
/// reading take.
inline constexpr std::size_t snapshot_part_bytes = std::size_t{1} << 20;

/// The note that holds byte_digest of the whole file, with zeros in its place.
inline constexpr std::string_view digest_note = "digest";

/// Writes a file so that its path holds either the old file or all of the new one: another file in the same
/// folder, fsync, read again, rename, fsync of the folder.
class snapshot_writer {
 public:
  explicit snapshot_writer(std::string path);
  snapshot_writer(snapshot_writer const&) = delete;
  ~snapshot_writer();

  /// `header`: of a safetensors file whose notes have `digest` with 16 zeros.
  [[nodiscard]] result<> open(std::string const& header);
  /// Where the next bytes go; never empty.
  [[nodiscard]] std::span<std::byte> room() const;
  [[nodiscard]] result<> filled(std::size_t bytes);
  /// After the last byte: everything is on disk, under another name, and was read again.
  [[nodiscard]] result<> finish();
  /// Gives it its name.
  [[nodiscard]] result<> publish();

 private:
  [[nodiscard]] result<> write_part();
  [[nodiscard]] result<> fill_in_digest();
  [[nodiscard]] error cannot(std::string_view what) const;

  std::string path_, aside_;
  detail::descriptor file_;
  buffer memory_ = safetensors::detail::allocate(snapshot_part_bytes);
  std::size_t used_ = 0;
  std::uint64_t digest_at_ = 0;
  byte_digest digest_;
};

/// Reads a file that snapshot_writer has written.
class snapshot_reader {
 public:
  /// Reads the header.
  [[nodiscard]] result<> open(std::string path);
  /// Entries without bytes: they lie one behind the other.
  [[nodiscard]] safetensors::contents const& holds() const { return holds_; }
  /// Reads the whole file and compares its digest.
  [[nodiscard]] result<> verify() const;
  /// Bytes of the data from `at` on.
  [[nodiscard]] result<> read(std::uint64_t at, std::span<std::byte> to) const;
  [[nodiscard]] std::string const& path() const { return path_; }

 private:
  [[nodiscard]] result<> read_file(std::uint64_t at, std::span<std::byte> to) const;

  std::string path_;
  detail::descriptor file_;
  std::uint64_t bytes_ = 0, data_at_ = 0;
  std::uint64_t digest_ = 0, digest_at_ = 0;
  safetensors::contents holds_;
};

namespace detail {
/// Sixteen hexadecimal digits.
std::string hex_text(std::uint64_t x);
/// Makes what was renamed or created in a folder durable. Some shared file systems cannot do that; the rename
/// is valid anyway.
void sync_folder(std::string const& folder);
std::string folder_of(std::string const& path);
/// The number at the front of `text`, which loses it and `separator` behind it.
bool take_number(std::string_view& text, std::uint64_t& n, std::string_view separator);
}  // namespace detail

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/state/snapshot_file_definitions.hpp>
#endif
