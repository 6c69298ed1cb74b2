// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>
#include <diloco/state/detail/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

namespace safetensors {

static_assert(std::endian::native == std::endian::little,
              "diloco: safetensors are read in place, which is little-endian");

inline constexpr std::uint64_t header_bytes_limit = 100'000'000;  ///< limit of the format
inline constexpr std::size_t dimensions_limit = 64;               ///< our limit and PyTorch's

/// In the order of the format's own writer, by increasing size.
enum class dtype : unsigned char {
  boolean,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  f64,
  i64,
  u64
};
inline constexpr std::array<std::string_view, 15> dtype_names{"BOOL", "U8",  "I8",  "F8_E5M2", "F8_E4M3",
                                                              "I16",  "U16", "F16", "BF16",    "I32",
                                                              "U32",  "F32", "F64", "I64",     "U64"};

constexpr std::string_view name_of(dtype t) { return dtype_names[static_cast<std::size_t>(t)]; }
constexpr std::size_t bytes_of(dtype t) {
  return t < dtype::i16 ? 1 : t < dtype::i32 ? 2 : t < dtype::f64 ? 4 : 8;
}

/// The dtype of a C++ element type.
template <class T>
inline constexpr std::optional<dtype> dtype_of = std::nullopt;
template <>
inline constexpr std::optional<dtype> dtype_of<float> = dtype::f32;
template <>
inline constexpr std::optional<dtype> dtype_of<double> = dtype::f64;
template <>
inline constexpr std::optional<dtype> dtype_of<std::uint8_t> = dtype::u8;
template <>
inline constexpr std::optional<dtype> dtype_of<std::int8_t> = dtype::i8;
template <>
inline constexpr std::optional<dtype> dtype_of<std::uint16_t> = dtype::u16;
template <>
inline constexpr std::optional<dtype> dtype_of<std::int16_t> = dtype::i16;
template <>
inline constexpr std::optional<dtype> dtype_of<std::uint32_t> = dtype::u32;
template <>
inline constexpr std::optional<dtype> dtype_of<std::int32_t> = dtype::i32;
template <>
inline constexpr std::optional<dtype> dtype_of<std::uint64_t> = dtype::u64;
template <>
inline constexpr std::optional<dtype> dtype_of<std::int64_t> = dtype::i64;

/// For example "[2, 3]".
inline std::string shape_text(std::span<std::size_t const> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += say({i == 0 ? "" : ", ", shape[i]});
  return text + "]";
}

/// Bytes of a tensor, or nullopt if they do not fit in 64 bits. No dimensions: one element. A dimension of 0:
/// no elements.
inline std::optional<std::uint64_t> tensor_bytes(dtype type, std::span<std::size_t const> shape) {
  std::uint64_t bytes = bytes_of(type);
  for (std::size_t n : shape) {
    if (n != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / n) return std::nullopt;
    bytes *= n;
  }
  return bytes;
}

/// One tensor. Its bytes stay in the memory of the file or of the caller.
struct entry {
  std::string name;
  dtype type = dtype::f32;
  std::vector<std::size_t> shape;
  std::span<std::byte const> bytes;

  /// The elements in place, without a copy. Fails if the file holds another type, or if they are not aligned
  /// to their size. Other writers may produce unaligned elements; then copy `bytes`.
  template <class T>
  [[nodiscard]] result<std::span<T const>> as() const {
    static_assert(dtype_of<T>.has_value(),
                  "diloco: safetensors: these elements have no C++ type; read `bytes`");
    std::string const who = say({"diloco: tensor '", detail::printable(name), "' "});
    if (type != *dtype_of<T>) {
      return error{cause::bad_file, 0, 0,
                   say({who, "holds ", name_of(type), ", not ", name_of(*dtype_of<T>)})};
    }
    if (std::bit_cast<std::uintptr_t>(bytes.data()) % alignof(T) != 0) {
      return error{cause::bad_file, 0, 0,
                   say({who, "lies at no multiple of ", alignof(T), " bytes; copy its bytes"})};
    }
    return std::span(reinterpret_cast<T const*>(bytes.data()), bytes.size() / sizeof(T));
  }
};

/// An entry that refers to the caller's own numbers, for writing.
template <class T>
entry entry_of(std::string name, std::vector<std::size_t> shape, std::span<T const> values) {
  return {std::move(name), *dtype_of<T>, std::move(shape), std::as_bytes(values)};
}

/// A tensor, or another part of the header, that this version cannot interpret. The other tensors of the file
/// are still read.
struct unread_entry {
  std::string name;
  std::string why;  ///< "has the dtype 'F4', which we do not know"
  std::string type{};
  std::vector<std::size_t> shape{};
  std::span<std::byte const> bytes{};  ///< inside the file and disjoint from every other tensor
};

/// The contents of a file. After reading, entries are in the order of their bytes and notes in the order of
/// the header.
struct contents {
  std::vector<entry> entries;
  /// the format's "__metadata__": pairs of name and text
  std::vector<std::pair<std::string, std::string>> notes{};
  std::vector<unread_entry> unread{};  ///< parts that later versions of the format may have added

  /// Null if there is no such entry. Linear search.
  [[nodiscard]] entry const* find(std::string_view name) const {
    auto const at =
        std::find_if(entries.begin(), entries.end(), [&](entry const& e) { return e.name == name; });
    return at == entries.end() ? nullptr : &*at;
  }
  [[nodiscard]] std::string const* note(std::string_view name) const {
    auto const at = std::find_if(notes.begin(), notes.end(), [&](auto const& n) { return n.first == name; });
    return at == notes.end() ? nullptr : &at->second;
  }
};

}  // namespace safetensors
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
