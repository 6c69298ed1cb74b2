// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/fragment_cut.hpp>
#include <diloco/core/error.hpp>
#include <diloco/core/float_formats.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/core/text.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// One of the caller's tensors: contiguous, borrowed for the trainer's life, never moved. float32 is stepped
/// in place. Of bfloat16 the trainer keeps a float32 copy (4 B/param), steps that, and writes it rounded
/// after every step and round.
struct tensor {
  std::string name;
  std::vector<std::size_t> shape;  // a scalar has none
  float* data = nullptr;
  bfloat16* bf16 = nullptr;  ///< in place of data

  static constexpr std::size_t too_large = ~std::size_t{0};
  /// Elements; `too_large` where the product does not fit.
  [[nodiscard]] std::size_t size() const {
    std::size_t n = 1;
    for (std::size_t extent : shape) {
      if (__builtin_mul_overflow(n, extent, &n) || n > too_large / sizeof(float)) return too_large;
    }
    return n;
  }
};

/// (256, 128)
std::string shape_text(std::vector<std::size_t> const& shape);

/// A run of elements of one row: the unit of work of every sweep, and the unit that shards are made of.
struct tile {
  std::uint32_t row;
  std::uint32_t count;  ///< elements, at most tile_elements
  std::uint32_t shard;  ///< which rank owns it under scatter–gather
  std::uint32_t slice;  ///< which of the plan's slices it belongs to; for staged compressors
  std::size_t begin;    ///< first element within the row
  std::size_t column;   ///< first element within our own padded columns
  std::size_t wire;     ///< first byte within its shard's payload
};

/// Rows and how they are cut. Blocks are cut within a row, so a scale is never shared by an embedding and a
/// norm gain. Columns align each row, but do not pad it to blocks: 5,000 tensors of 8 elements took 768
/// B/param when they did.
class layout {
 public:
  struct row {
    std::string name;
    std::vector<std::size_t> shape;
    float* data;  ///< θ in float32: the caller's, or ours
    std::size_t size;
    std::size_t column;        ///< first element within our own padded columns
    std::size_t group = 0;     ///< of the inner optimizer
    std::size_t group_column;  ///< first element within the group's padded columns
    std::size_t fragment = 0;  ///< that carries it
    bool frozen = false;       ///< then it has no tiles and no place in any column
    bfloat16* bf16 = nullptr;  ///< where θ goes rounded
    float* samples = nullptr;  ///< where samples of θ go
    float* given = nullptr;    ///< the caller's float32 tensor
    [[nodiscard]] bool copied() const { return !frozen && (bf16 != nullptr || samples != nullptr); }
    /// As a matrix: first extent × the rest; a vector is one column.
    [[nodiscard]] std::size_t columns() const { return shape.size() < 2 ? 1 : size / shape[0]; }
  };
  /// A part of the model that one round carries: whole rows, whose tiles and elements follow one another.
  struct fragment {
    std::size_t first_tile = 0, tiles = 0;
    std::size_t column = 0, elements = 0;  ///< its part of the padded columns
  };
  /// What the inner optimizer's groups hold.
  struct group {
    std::size_t rows = 0, tiles = 0;
    std::size_t elements = 0;  ///< padded
  };
  /// Into which group a tensor goes, or why it cannot.
  struct role {
    std::size_t group = 0;
    bool frozen = false, samples = false;
    std::string invalid = {};
  };
  struct everything {
    [[nodiscard]] role operator()(tensor const&) const { return {}; }
  };

  /// Copies names, shapes and pointers; errors: no tensor, empty tensor, null pointer, duplicate or missing
  /// name. Columns pad each row to `padding` elements, where that is not 0. A tile has many blocks, or one
  /// where `one_block_tiles` says so. `assign(tensor)` gives each tensor's role. `fragments`: parts
  /// of the model, cut as `cut` says.
  template <class Parameters, class Assign = everything>
  DILOCO_COLD static result<layout> of(Parameters const& parameters, int block, bool one_block_tiles = false,
                                       int padding = 0, std::size_t groups = 1, Assign const& assign = {},
                                       std::size_t fragments = 1, fragment_cut cut = {}) {
    layout l(block, one_block_tiles, padding, groups);
    for (tensor const& t : parameters) {
      std::string invalid = l.tensor_error(t);
      if (!invalid.empty()) return error{cause::bad_layout, 0, 0, "diloco: parameters: " + invalid};
      role r = assign(t);
      if (!r.invalid.empty()) return error{cause::bad_layout, 0, 0, std::move(r.invalid)};
      l.append(t, r);
    }
    std::string invalid = l.finish(fragments, cut);
    if (!invalid.empty()) return error{cause::bad_layout, 0, 0, std::move(invalid)};
    return l;
  }

  [[nodiscard]] std::vector<row> const& rows() const { return rows_; }
  [[nodiscard]] std::vector<tile> const& tiles() const { return tiles_; }
  [[nodiscard]] std::vector<tile>& tiles() { return tiles_; }
  /// Elements of the tensors that are trained.
  [[nodiscard]] std::size_t parameters() const { return parameters_; }
  [[nodiscard]] std::vector<group> const& groups() const { return groups_; }
  [[nodiscard]] std::vector<fragment> const& fragments() const { return fragments_; }
  /// Elements of the tensors whose θ is a float32 copy of ours, padded.
  [[nodiscard]] std::size_t copied_elements() const;
  /// Gives them their copies, one after another in a column of copied_elements().
  void place_copies(float* column);
  [[nodiscard]] row const* find(std::string_view name) const;
  /// What is wrong with `parameters` as another list of the same tensors, or an empty text: names, shapes and
  /// types.
  template <class Parameters>
  [[nodiscard]] std::string differs(Parameters const& parameters) const {
    std::size_t r = 0;
    for (tensor const& t : parameters) {
      std::string invalid = differs(t, r++);
      if (!invalid.empty()) return invalid;
    }
    return fewer(r);
  }
  /// The sentence about the first tensor that does not lie where the trainer knows it, or an empty text.
  template <class Parameters>
  [[nodiscard]] std::string moved(Parameters const& parameters) const {
    std::string invalid = differs(parameters);
    std::size_t r = 0;
    for (tensor const& t : parameters) {
      if (!invalid.empty()) return invalid;
      invalid = moved(t, r++);
    }
    return invalid;
  }
  /// Takes the addresses of the same tensors anew; on an error the old ones stay.
  template <class Parameters>
  [[nodiscard]] std::string rebind(Parameters const& parameters) {
    std::string invalid = differs(parameters);
    if (!invalid.empty()) return invalid;
    std::vector<row> before = rows_;
    std::size_t r = 0;
    for (tensor const& t : parameters) take_addresses(t, r++);
    invalid = overlap();
    if (!invalid.empty()) rows_ = std::move(before);
    return invalid;
  }
  /// Elements of one padded column.
  [[nodiscard]] std::size_t column_elements() const { return column_; }
  /// Every column's rows begin at a multiple of so many elements. A lane of many loads whole blocks of 16
  /// elements or more in words of 16 bytes; long rows begin with a cache line.
  [[nodiscard]] std::size_t alignment(std::size_t n) const {
    return padding_ != 0 ? padding_ : n < 16 ? 1 : n < 256 ? 4 : line_elements;
  }
  /// First element of n more behind `end`, which moves past them.
  [[nodiscard]] std::size_t place(std::size_t& end, std::size_t n) const {
    std::size_t const a = alignment(n), at = (end + a - 1) / a * a;
    end = padding_ != 0 ? at + (n + a - 1) / a * a : at + n;
    return at;
  }
  /// 64 bytes of a column.
  static constexpr std::size_t line_elements = 16;

  /// Fingerprint of a row's name, shape, group and kind.
  [[nodiscard]] std::uint64_t fingerprint(std::size_t index) const;
  /// 'wte' (256, 128)
  [[nodiscard]] std::string text(std::size_t index) const;

 private:
  // 16 KiB per column: long enough to hide the loop's start, short enough that 10,000 small tensors share two
  // cores evenly.
  static constexpr std::size_t target_tile_elements = 4096;

  layout(int block, bool one_block_tiles, int padding, std::size_t groups);
  [[nodiscard]] std::string tensor_error(tensor const& t) const;
  void append(tensor const& t, role const& r);
  /// Cuts the rows into fragments and tiles; the sentence about what is wrong, or an empty text.
  [[nodiscard]] std::string finish(std::size_t fragments, fragment_cut const& cut);
  /// Sorts the names; the first that two tensors have, or an empty text.
  [[nodiscard]] std::string twice();
  [[nodiscard]] std::size_t slot_of(std::string_view name) const;
  /// Two names for the same memory (tied weights given twice) would be stepped twice.
  [[nodiscard]] std::string overlap() const;
  [[nodiscard]] std::size_t trained_rows() const;
  /// Row after row, a new fragment where it brings the end of the last closer to its share. Each fragment
  /// that is still to come gets a row.
  void split(std::size_t fragments);
  /// Gives each row its fragment, and then the rows of each fragment their places.
  [[nodiscard]] std::string split(std::size_t fragments, fragment_cut const& cut);
  /// Gives a row its tiles and its place in all columns, at the end of fragment f.
  void put(row& r, std::size_t f);
  [[nodiscard]] std::string differs(tensor const& t, std::size_t r) const;
  [[nodiscard]] std::string fewer(std::size_t given) const;
  [[nodiscard]] std::string moved(tensor const& t, std::size_t r) const;
  void take_addresses(tensor const& t, std::size_t r);

  std::vector<row> rows_;
  std::vector<std::uint32_t> by_name_;  // hash table: 1 + index of a row, 0 where free
  std::vector<tile> tiles_;
  std::vector<group> groups_;
  std::vector<fragment> fragments_;
  bool cut_apart_ = false;  // fragments are no runs of rows
  std::size_t padding_ = 0, tile_elements_ = 0, parameters_ = 0, column_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/state/layout_definitions.hpp>
#endif
