// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>
#include <diloco/core/float_formats.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/core/text.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
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
DILOCO_COLD inline std::string shape_text(std::vector<std::size_t> const& shape) {
  std::string extents;
  for (std::size_t extent : shape) extents += say({extents.empty() ? "" : ", ", extent});
  return "(" + extents + ")";
}

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
  /// where `one_block_tiles` says so. `assign(tensor)` gives each tensor's role. `fragments`: runs of whole
  /// tensors of about equal size.
  template <class Parameters, class Assign = everything>
  DILOCO_COLD static result<layout> of(Parameters const& parameters, int block, bool one_block_tiles = false,
                                       int padding = 0, std::size_t groups = 1, Assign const& assign = {},
                                       std::size_t fragments = 1) {
    layout l;
    l.groups_.resize(groups);
    auto const b = static_cast<std::size_t>(block);
    l.padding_ = static_cast<std::size_t>(padding);
    l.tile_elements_ = b < target_tile_elements && !one_block_tiles ? target_tile_elements / b * b : b;
    for (tensor const& t : parameters) {
      std::string invalid = l.tensor_error(t);
      if (!invalid.empty()) return error{cause::bad_layout, 0, 0, "diloco: parameters: " + invalid};
      role r = assign(t);
      if (!r.invalid.empty()) return error{cause::bad_layout, 0, 0, std::move(r.invalid)};
      l.append(t, r);
    }
    l.split(fragments);
    if (auto invalid = l.overlap(); !invalid.empty())
      return error{cause::bad_layout, 0, 0, "diloco: parameters: " + invalid};
    if (l.rows_.empty())
      return error{cause::bad_layout, 0, 0, "diloco: parameters: the list of tensors is empty"};
    if (l.tiles_.empty()) return error{cause::bad_layout, 0, 0, "diloco: parameters: every tensor is frozen"};
    for (fragment const& f : l.fragments_) {
      if (f.tiles == 0)
        return error{cause::bad_layout, 0, 0,
                     say({"diloco: schedule: ", fragments, " fragments of ", l.trained_rows(),
                          " tensors that are trained; a fragment is at least one of them"})};
    }
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
  [[nodiscard]] std::size_t copied_elements() const {
    std::size_t end = 0;
    for (row const& r : rows_) {
      if (r.copied()) static_cast<void>(place(end, r.size));
    }
    return end;
  }
  /// Gives them their copies, one after another in a column of copied_elements().
  void place_copies(float* column) {
    std::size_t end = 0;
    for (row& r : rows_) {
      if (r.copied()) r.data = column + place(end, r.size);
    }
  }
  [[nodiscard]] row const* find(std::string_view name) const {
    auto const at = by_name_.find(std::string(name));
    return at == by_name_.end() ? nullptr : &rows_[at->second];
  }
  /// What is wrong with `parameters` as another list of the same tensors, or an empty text: names, shapes and
  /// types.
  template <class Parameters>
  [[nodiscard]] std::string differs(Parameters const& parameters) const {
    std::size_t r = 0;
    for (tensor const& t : parameters) {
      if (r == rows_.size()) return say({"there are more tensors than the ", r, " of the constructor"});
      row const& mine = rows_[r];
      if (mine.name != t.name)
        return say({"tensor ", r, " is '", t.name, "', and the constructor was given '", mine.name, "'"});
      if (mine.shape != t.shape)
        return say({"'", t.name, "' has the shape ", shape_text(t.shape), ", and the constructor was given ",
                    shape_text(mine.shape)});
      if ((t.data == nullptr) == (t.bf16 == nullptr))
        return say({"'", t.name, "' must have either data or bf16"});
      if ((mine.bf16 == nullptr) != (t.bf16 == nullptr))
        return say({"'", t.name, "' is ", t.bf16 == nullptr ? "float32" : "bfloat16",
                    ", and the constructor was given the other type"});
      ++r;
    }
    return r == rows_.size()
               ? std::string{}
               : say({"there are ", r, " tensors, and the constructor was given ", rows_.size()});
  }
  /// The sentence about the first tensor that does not lie where the trainer knows it, or an empty text.
  template <class Parameters>
  [[nodiscard]] std::string moved(Parameters const& parameters) const {
    std::string invalid = differs(parameters);
    std::size_t r = 0;
    for (tensor const& t : parameters) {
      if (!invalid.empty()) return invalid;
      if (t.data != rows_[r].given || t.bf16 != rows_[r].bf16)
        invalid = say({"'", t.name, "' has moved since the trainer last saw it; call rebind(parameters)"});
      ++r;
    }
    return invalid;
  }
  /// Takes the addresses of the same tensors anew; on an error the old ones stay.
  template <class Parameters>
  [[nodiscard]] std::string rebind(Parameters const& parameters) {
    std::string invalid = differs(parameters);
    if (!invalid.empty()) return invalid;
    std::vector<row> const before = rows_;
    std::size_t next = 0;
    for (tensor const& t : parameters) {
      row& r = rows_[next++];
      if (!r.copied()) r.data = t.data;
      if (r.samples != nullptr) r.samples = t.data;
      r.given = t.data;
      r.bf16 = t.bf16;
    }
    invalid = overlap();
    if (!invalid.empty()) rows_ = before;
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
  [[nodiscard]] std::uint64_t fingerprint(std::size_t index) const {
    row const& r = rows_[index];
    hash64 h;
    h.add(r.name);
    for (std::size_t extent : r.shape) h.add(static_cast<std::uint64_t>(extent));
    h.add(static_cast<std::uint64_t>(r.group));
    h.add(static_cast<std::uint64_t>(r.bf16 != nullptr));
    return h.value();
  }
  /// 'wte' (256, 128)
  [[nodiscard]] std::string text(std::size_t index) const {
    row const& r = rows_[index];
    return say({"'", r.name, "' ", shape_text(r.shape), r.bf16 == nullptr ? "" : " of bfloat16",
                groups_.size() == 1 ? std::string{} : say({" in group ", r.group})});
  }

 private:
  // 16 KiB per column: long enough to hide the loop's start, short enough that 10,000 small tensors share two
  // cores evenly.
  static constexpr std::size_t target_tile_elements = 4096;

  DILOCO_COLD [[nodiscard]] std::string tensor_error(tensor const& t) const {
    std::string const number = say({"tensor ", rows_.size()});
    if (t.name.empty()) return say({number, " has no name"});
    if (by_name_.count(t.name) != 0) return say({"the name '", t.name, "' is given twice"});
    if (t.size() == tensor::too_large) return say({"'", t.name, "' has a shape that no memory can hold"});
    if (t.size() == 0) return say({"'", t.name, "' has no elements"});
    if (t.data == nullptr && t.bf16 == nullptr) return say({"'", t.name, "' points to nothing"});
    if (t.data != nullptr && t.bf16 != nullptr)
      return say({"'", t.name, "' has both data and bf16; give one"});
    return {};
  }

  /// Two names for the same memory (tied weights given twice) would be stepped twice.
  DILOCO_COLD [[nodiscard]] std::string overlap() const {
    struct place {
      std::uintptr_t begin;
      row const* owner;
    };
    std::map<std::uintptr_t, place> by_end;  // <algorithm>'s sort would cost every user 0.1 s of compile time
    for (row const& r : rows_) {
      auto const begin = r.bf16 == nullptr ? reinterpret_cast<std::uintptr_t>(r.given)
                                           : reinterpret_cast<std::uintptr_t>(r.bf16);
      auto const end = begin + r.size * (r.bf16 == nullptr ? sizeof(float) : sizeof(bfloat16));
      auto const next = by_end.upper_bound(begin);
      if (next != by_end.end() && next->second.begin < end) {
        return say(
            {"'", r.name, "' overlaps '", next->second.owner->name, "'; give memory that is shared once"});
      }
      by_end.emplace(end, place{begin, &r});
    }
    return {};
  }

  DILOCO_COLD void append(tensor const& t, role const& r) {
    std::size_t const size = t.size();
    rows_.push_back({t.name, t.shape, t.data, size, 0, r.group, 0, 0, r.frozen, t.bf16,
                     r.samples ? t.data : nullptr, t.data});
    by_name_.emplace(t.name, rows_.size() - 1);
    groups_[r.group].rows += 1;
    if (!r.frozen) parameters_ += size;
  }
  [[nodiscard]] std::size_t trained_rows() const {
    std::size_t n = 0;
    for (row const& r : rows_) n += r.frozen ? 0 : 1;
    return n;
  }
  /// Row after row, a new fragment where it brings the end of the last closer to its share. Each fragment
  /// that is still to come gets a row.
  DILOCO_COLD void split(std::size_t fragments) {
    fragments_.resize(fragments);
    std::size_t f = 0, before = 0, left = trained_rows();
    for (row& r : rows_) {
      if (r.frozen) continue;
      bool const begun = fragments_[f].tiles != 0;
      // The end of fragment f is (f + 1) shares; compare the distance with and without this row.
      std::size_t const end = parameters_ * (f + 1), with = (before + r.size) * fragments;
      bool const past =
          with > end && with - end > end - (before * fragments < end ? before * fragments : end);
      if (begun && f + 1 < fragments && (past || left <= fragments - f - 1)) ++f;
      left -= 1;
      before += r.size;
      put(r, f);
    }
  }
  /// Gives a row its tiles and its place in all columns, at the end of fragment f.
  DILOCO_COLD void put(row& r, std::size_t f) {
    fragment& part = fragments_[f];
    if (part.tiles == 0) {
      std::size_t const line = padding_ == 0 ? line_elements : padding_;
      // Columns of the groups, too: those of a single group are those of the model.
      column_ = (column_ + line - 1) / line * line;
      for (group& g : groups_) g.elements = (g.elements + line - 1) / line * line;
      part.first_tile = tiles_.size();
      part.column = column_;
    }
    r.fragment = f;
    r.column = place(column_, r.size);
    group& g = groups_[r.group];
    r.group_column = place(g.elements, r.size);
    auto const index = static_cast<std::uint32_t>(&r - rows_.data());
    for (std::size_t begin = 0; begin < r.size; begin += tile_elements_) {
      std::size_t const left = r.size - begin, count = left < tile_elements_ ? left : tile_elements_;
      tiles_.push_back({index, static_cast<std::uint32_t>(count), 0, 0, begin, r.column + begin, 0});
      g.tiles += 1;
    }
    part.tiles = tiles_.size() - part.first_tile;
    part.elements = column_ - part.column;
  }

  std::vector<row> rows_;
  std::map<std::string, std::size_t> by_name_;
  std::vector<tile> tiles_;
  std::vector<group> groups_;
  std::vector<fragment> fragments_;
  std::size_t padding_ = 0, tile_elements_ = 0, parameters_ = 0, column_ = 0;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
