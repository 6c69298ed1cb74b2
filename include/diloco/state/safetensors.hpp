// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/buffer.hpp>
#include <diloco/state/detail/safetensors_reading.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <new>
#include <system_error>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The safetensors format (github.com/huggingface/safetensors). A file holds 8 bytes of header length, a JSON
/// header and the tensors' bytes without gaps. The header gives each tensor's name, type, shape and byte
/// range.
/// Nothing in such a file is ever executed, and no input makes the reader access memory outside the file.
/// Numbers are little-endian, as on every machine that we support.
namespace safetensors {

/// Reads a file in memory. Entries point into `file`, which must outlive them. Errors call it `called`.
/// Cost: parses the header and sorts its names; it does not read the data.
/// Fails with `bad_file` on anything that the format forbids: gaps, overlaps, duplicate names, shapes that do
/// not fit their bytes, missing or extra bytes.
/// Tensors with an unknown dtype or unknown keys are listed in `unread`. Their byte ranges are checked too.
inline result<contents> read(std::span<std::byte const> file, std::string_view called) {
  detail::reading r(file);
  if (r.run()) return r.take();
  return error{cause::bad_file, 0, 0,
               say({"diloco: safetensors '", detail::printable(called), "': ", r.validation_error()})};
}

namespace detail {

inline error cannot(std::string_view verb, std::string_view path, std::string_view why) {
  return {cause::bad_file, 0, 0, say({"diloco: cannot ", verb, " '", path, "': ", why})};
}
inline std::string system_reason() { return std::generic_category().message(errno); }

struct closer {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using file_handle = std::unique_ptr<std::FILE, closer>;

inline buffer allocate(std::size_t bytes) {
  constexpr std::align_val_t line{64};
  auto* const at = static_cast<std::byte*>(::operator new(bytes, line, std::nothrow));
  return {at, bytes, [](std::byte* p, std::size_t, void*) noexcept { ::operator delete(p, line); }};
}

inline result<buffer> read_file(std::string const& path) {
  file_handle const file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return cannot("read", path, system_reason());
  std::FILE* const f = file.get();
  // A folder can be opened and reports the largest possible length. Only reading from it fails.
  if (std::fgetc(f) == EOF && std::ferror(f) != 0) return cannot("read", path, system_reason());
  long const size = std::fseek(f, 0, SEEK_END) == 0 ? std::ftell(f) : -1;
  if (size < 0 || std::fseek(f, 0, SEEK_SET) != 0) return cannot("read", path, system_reason());
  buffer memory = allocate(static_cast<std::size_t>(size));
  if (memory.data() == nullptr)
    return cannot("read", path, say({"there is no memory for its ", size, " bytes"}));
  if (std::fread(memory.data(), 1, memory.size(), f) != memory.size()) {
    return cannot("read", path, std::ferror(f) != 0 ? system_reason() : "it became shorter meanwhile");
  }
  return memory;
}

/// Why `e` cannot be written, or an empty string.
inline std::string write_error(entry const& e) {
  std::string const who = say({"tensor '", printable(e.name), "' "});
  if (!is_utf8(e.name)) return who + "has a name that is not UTF-8";
  if (e.name == notes_key) return who + "has the name that the format keeps for its notes";
  if (e.shape.size() > dimensions_limit) return say({who, "has more than ", dimensions_limit, " dimensions"});
  auto const bytes = tensor_bytes(e.type, e.shape);
  if (bytes && *bytes == e.bytes.size()) return {};
  return say({who, "is ", name_of(e.type), " ", shape_text(e.shape), ", which ",
              bytes ? say({"takes ", *bytes, " bytes"}) : "64 bits do not count", ", and has ",
              e.bytes.size()});
}

inline std::string write_error(contents const& c) {
  std::vector<std::string_view> names, keys;
  if (!c.unread.empty()) {
    return say({"tensor '", printable(c.unread[0].name), "' was not read, because it ",
                printable(c.unread[0].why), "; clear `unread` to write the others"});
  }
  for (entry const& e : c.entries) {
    names.push_back(e.name);
    if (std::string why = write_error(e); !why.empty()) return why;
  }
  for (auto const& [key, value] : c.notes) {
    keys.push_back(key);
    if (!is_utf8(key) || !is_utf8(value)) return say({"note '", printable(key), "' is not UTF-8"});
  }
  for (auto* list : {&names, &keys}) {
    std::sort(list->begin(), list->end());
    auto const twice = std::adjacent_find(list->begin(), list->end());
    if (twice != list->end()) return say({"the name '", printable(*twice), "' is given twice"});
  }
  return {};
}

inline std::string header_text(contents const& c) {
  std::string text = "{";
  auto const next = [&](std::string_view key) {
    if (text.back() != '{') text += ',';
    append_json(text, key);
    text += ':';
  };
  if (!c.notes.empty()) {
    next(notes_key);
    text += '{';
    for (auto const& [key, value] : c.notes) next(key), append_json(text, value);
    text += '}';
  }
  std::uint64_t at = 0;
  for (entry const& e : c.entries) {
    next(e.name);
    text += say({"{\"dtype\":\"", name_of(e.type), "\",\"shape\":["});
    for (std::size_t i = 0; i < e.shape.size(); ++i) text += say({i == 0 ? "" : ",", e.shape[i]});
    text += say({"],\"data_offsets\":[", at, ",", at + e.bytes.size(), "]}"});
    at += e.bytes.size();
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace detail

/// Sorts `c.entries` into file order and returns the bytes that precede the tensors. The order is that of the
/// format's own writer: wide types first, names within a type.
/// The length is a multiple of 8, so every tensor begins at a multiple of its element size. The same contents
/// give the same bytes, in whatever order they were listed.
inline result<std::string> header_of(contents& c) {
  auto const refuse = [](std::string_view why) {
    return error{cause::bad_file, 0, 0, say({"diloco: safetensors: ", why})};
  };
  if (std::string const why = detail::write_error(c); !why.empty()) return refuse(why);
  std::sort(c.entries.begin(), c.entries.end(), [](entry const& a, entry const& b) {
    return a.type != b.type ? a.type > b.type : a.name < b.name;
  });
  std::sort(c.notes.begin(), c.notes.end());
  std::string const text = detail::header_text(c);
  std::uint64_t const length = text.size();
  if (length > header_bytes_limit) {
    return refuse(say(
        {"the header has ", length, " bytes and may have ", header_bytes_limit, "; write fewer tensors"}));
  }
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + text;
}

/// The bytes of a file; `read` gives the same contents back. Fails if `header_of` fails.
inline result<std::vector<std::byte>> write(contents c) {
  auto const header = header_of(c);
  if (!header) return header.error();
  auto const start = std::as_bytes(std::span(*header));
  std::vector<std::byte> out(start.begin(), start.end());
  for (entry const& e : c.entries) out.insert(out.end(), e.bytes.begin(), e.bytes.end());
  return out;
}

/// A file in memory, 64-byte aligned, and its contents, which point into it. They move together.
struct loaded {
  buffer memory;
  contents holds;
};

/// Reads the whole file once. Fails with `bad_file` on system errors, if memory is insufficient, and where
/// `read` does.
inline result<loaded> load(std::string const& path) {
  auto memory = detail::read_file(path);
  if (!memory) return std::move(memory).error();
  auto holds = read(memory->bytes(), path);
  if (!holds) return std::move(holds).error();
  return loaded{std::move(*memory), std::move(*holds)};
}

/// Writes the file in place, one tensor after another, without another copy in memory. A crash leaves an
/// incomplete file, which `read` refuses.
/// To keep an earlier file safe, write to a second file and rename it.
inline result<> save(std::string const& path, contents c) {
  auto const header = header_of(c);
  if (!header) return header.error();
  detail::file_handle file(std::fopen(path.c_str(), "wb"));
  if (file == nullptr) return detail::cannot("write", path, detail::system_reason());
  auto const put = [&](std::span<std::byte const> bytes) {
    return bytes.empty() || std::fwrite(bytes.data(), 1, bytes.size(), file.get()) == bytes.size();
  };
  bool fine = put(std::as_bytes(std::span(*header)));
  for (entry const& e : c.entries) fine = fine && put(e.bytes);
  // Errors that the system still holds back, for example a full disk, are reported when the file is closed.
  if (!fine || std::fclose(file.release()) != 0)
    return detail::cannot("write", path, detail::system_reason());
  return {};
}

}  // namespace safetensors
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
