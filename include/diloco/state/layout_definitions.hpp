// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/layout.hpp>

#include <cstdlib>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_COLD DILOCO_CORE std::string shape_text(std::vector<std::size_t> const& shape) {
  std::string extents;
  for (std::size_t extent : shape) extents += say({extents.empty() ? "" : ", ", extent});
  return "(" + extents + ")";
}

DILOCO_COLD DILOCO_CORE layout::layout(int block, bool one_block_tiles, int padding, std::size_t groups)
    : groups_(groups), padding_(static_cast<std::size_t>(padding)) {
  auto const b = static_cast<std::size_t>(block);
  tile_elements_ = b < target_tile_elements && !one_block_tiles ? target_tile_elements / b * b : b;
}

DILOCO_COLD DILOCO_CORE std::string layout::tensor_error(tensor const& t) const {
  if (t.name.empty()) return say({"tensor ", rows_.size(), " has no name"});
  if (t.size() == tensor::too_large) return say({"'", t.name, "' has a shape that no memory can hold"});
  if (t.size() == 0) return say({"'", t.name, "' has no elements"});
  if (t.data == nullptr && t.bf16 == nullptr) return say({"'", t.name, "' points to nothing"});
  if (t.data != nullptr && t.bf16 != nullptr) return say({"'", t.name, "' has both data and bf16; give one"});
  return {};
}

DILOCO_COLD DILOCO_CORE void layout::append(tensor const& t, role const& r) {
  std::size_t const size = t.size();
  rows_.push_back({t.name, t.shape, t.data, size, 0, r.group, 0, 0, r.frozen, t.bf16,
                   r.samples ? t.data : nullptr, t.data});
  groups_[r.group].rows += 1;
  if (!r.frozen) parameters_ += size;
}

DILOCO_COLD DILOCO_CORE std::string layout::finish(std::size_t fragments, fragment_cut const& cut) {
  if (rows_.empty()) return "diloco: parameters: the list of tensors is empty";
  if (std::string const name = twice(); !name.empty())
    return say({"diloco: parameters: the name '", name, "' is given twice"});
  if (std::string invalid = split(fragments, cut); !invalid.empty()) return invalid;
  if (std::string const invalid = overlap(); !invalid.empty()) return "diloco: parameters: " + invalid;
  if (tiles_.empty()) return "diloco: parameters: every tensor is frozen";
  for (fragment const& f : fragments_) {
    if (f.tiles == 0 && cut_apart_)
      return say({"diloco: schedule: no tensor that is trained is in fragment ", &f - fragments_.data(),
                  " of ", fragments, "; say fewer fragments, or cut the model by name"});
    if (f.tiles == 0)
      return say({"diloco: schedule: ", fragments, " fragments of ", trained_rows(),
                  " tensors that are trained; a fragment is at least one of them"});
  }
  return {};
}

/// Of a table with open addressing: the slot that holds this name, or the free one where it belongs.
DILOCO_CORE std::size_t layout::slot_of(std::string_view name) const {
  hash64 h;
  h.add(name);
  std::size_t const mask = by_name_.size() - 1;
  std::size_t at = static_cast<std::size_t>(h.value()) & mask;
  while (by_name_[at] != 0 && rows_[by_name_[at] - 1].name != name) at = (at + 1) & mask;
  return at;
}

DILOCO_COLD DILOCO_CORE std::string layout::twice() {
  by_name_.assign(std::bit_ceil(2 * rows_.size() + 1), 0);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    std::uint32_t& slot = by_name_[slot_of(rows_[i].name)];
    if (slot != 0) return rows_[i].name;
    slot = static_cast<std::uint32_t>(i + 1);
  }
  return {};
}

DILOCO_COLD DILOCO_CORE std::string layout::overlap() const {
  struct extent {
    std::uintptr_t begin, end;
    row const* of;
  };
  std::vector<extent> all(rows_.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    row const& r = rows_[i];
    auto const begin = r.bf16 == nullptr ? reinterpret_cast<std::uintptr_t>(r.given)
                                         : reinterpret_cast<std::uintptr_t>(r.bf16);
    all[i] = {begin, begin + r.size * (r.bf16 == nullptr ? sizeof(float) : sizeof(bfloat16)), &r};
  }
  bool sorted = true;  // as tensors of one allocation are
  for (std::size_t i = 1; i < all.size(); ++i) sorted = sorted && all[i - 1].begin < all[i].begin;
  // std::qsort, because instantiating std::sort costs each file that is compiled 0.1 s.
  if (!sorted)
    std::qsort(all.data(), all.size(), sizeof(extent), [](void const* a, void const* b) {
      auto const x = static_cast<extent const*>(a)->begin, y = static_cast<extent const*>(b)->begin;
      return x < y ? -1 : x == y ? 0 : 1;
    });
  for (std::size_t i = 1; i < all.size(); ++i) {
    if (all[i].begin >= all[i - 1].end) continue;
    row const *first = all[i - 1].of, *second = all[i].of;
    if (second < first) std::swap(first, second);
    return say({"'", second->name, "' overlaps '", first->name, "'; give memory that is shared once"});
  }
  return {};
}

DILOCO_COLD DILOCO_CORE std::size_t layout::trained_rows() const {
  std::size_t n = 0;
  for (row const& r : rows_) n += r.frozen ? 0 : 1;
  return n;
}

DILOCO_COLD DILOCO_CORE void layout::split(std::size_t fragments) {
  fragments_.resize(fragments);
  std::size_t f = 0, before = 0, left = trained_rows();
  for (row& r : rows_) {
    if (r.frozen) continue;
    bool const begun = fragments_[f].tiles != 0;
    // The end of fragment f is (f + 1) shares; compare the distance with and without this row.
    std::size_t const end = parameters_ * (f + 1), with = (before + r.size) * fragments;
    bool const past = with > end && with - end > end - (before * fragments < end ? before * fragments : end);
    if (begun && f + 1 < fragments && (past || left <= fragments - f - 1)) ++f;
    left -= 1;
    before += r.size;
    put(r, f);
  }
}

namespace detail {

/// The first number in a name that stands between other characters than letters; -1 if there is none.
inline long layer_of(std::string_view name) {
  auto const is_digit = [](char c) { return c >= '0' && c <= '9'; };
  auto const is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (!is_digit(name[i])) continue;
    std::size_t const begin = i;
    long number = 0;
    for (; i < name.size() && is_digit(name[i]); ++i) number = (number * 10 + (name[i] - '0')) % 1000000000;
    bool const alone =
        (begin == 0 || !is_letter(name[begin - 1])) && (i == name.size() || !is_letter(name[i]));
    if (alone) return number;
  }
  return -1;
}

}  // namespace detail

DILOCO_COLD DILOCO_CORE std::string layout::split(std::size_t fragments, fragment_cut const& cut) {
  if (cut.how == fragment_cut::sequential) return split(fragments), std::string{};
  if (cut.how == fragment_cut::by_name && cut.fragment_of == nullptr)
    return "diloco: schedule: cuts the model by name and was given no function; say by_name(function)";
  cut_apart_ = fragments > 1;
  fragments_.resize(fragments);
  long layer = 0;
  for (auto r = rows_.rbegin(); r != rows_.rend(); ++r) {
    if (long const l = detail::layer_of(r->name); l >= 0) layer = l;  // ends as that of the first number
  }
  for (row& r : rows_) {
    if (long const l = detail::layer_of(r.name); l >= 0) layer = l;
    if (r.frozen) continue;
    auto const n = static_cast<long>(fragments);
    long const f = cut.how == fragment_cut::strided ? layer % n : cut.fragment_of(r.name);
    if (f < 0 || f >= n)
      return say({"diloco: schedule: by_name puts '", r.name, "' into fragment ", f, " of ", n,
                  "; give each tensor that is trained a fragment from 0 on"});
    r.fragment = static_cast<std::size_t>(f);
  }
  for (std::size_t f = 0; f < fragments; ++f) {
    for (row& r : rows_) {
      if (!r.frozen && r.fragment == f) put(r, f);
    }
  }
  return {};
}

DILOCO_COLD DILOCO_CORE void layout::put(row& r, std::size_t f) {
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

DILOCO_CORE std::size_t layout::copied_elements() const {
  std::size_t end = 0;
  for (row const& r : rows_) {
    if (r.copied()) static_cast<void>(place(end, r.size));
  }
  return end;
}

DILOCO_CORE void layout::place_copies(float* column) {
  std::size_t end = 0;
  for (row& r : rows_) {
    if (r.copied()) r.data = column + place(end, r.size);
  }
}

DILOCO_CORE layout::row const* layout::find(std::string_view name) const {
  std::uint32_t const found = by_name_[slot_of(name)];
  return found == 0 ? nullptr : &rows_[found - 1];
}

DILOCO_CORE std::string layout::differs(tensor const& t, std::size_t r) const {
  if (r >= rows_.size())
    return say({"there are more tensors than the ", rows_.size(), " of the constructor"});
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
  return {};
}

DILOCO_CORE std::string layout::fewer(std::size_t given) const {
  return given == rows_.size()
             ? std::string{}
             : say({"there are ", given, " tensors, and the constructor was given ", rows_.size()});
}

DILOCO_CORE std::string layout::moved(tensor const& t, std::size_t r) const {
  return t.data != rows_[r].given || t.bf16 != rows_[r].bf16
             ? say({"'", t.name, "' has moved since the trainer last saw it; call rebind(parameters)"})
             : std::string{};
}

DILOCO_COLD DILOCO_CORE void layout::take_addresses(tensor const& t, std::size_t index) {
  row& r = rows_[index];
  if (!r.copied()) r.data = t.data;
  if (r.samples != nullptr) r.samples = t.data;
  r.given = t.data;
  r.bf16 = t.bf16;
}

DILOCO_CORE std::uint64_t layout::fingerprint(std::size_t index) const {
  row const& r = rows_[index];
  hash64 h;
  h.add(r.name);
  for (std::size_t extent : r.shape) h.add(static_cast<std::uint64_t>(extent));
  h.add(static_cast<std::uint64_t>(r.group));
  h.add(static_cast<std::uint64_t>(r.bf16 != nullptr));
  if (cut_apart_) h.add(static_cast<std::uint64_t>(r.fragment));
  return h.value();
}

DILOCO_COLD DILOCO_CORE std::string layout::text(std::size_t index) const {
  row const& r = rows_[index];
  return say({"'", r.name, "' ", shape_text(r.shape), r.bf16 == nullptr ? "" : " of bfloat16",
              groups_.size() == 1 ? std::string{} : say({" in group ", r.group}),
              cut_apart_ && !r.frozen ? say({" in fragment ", r.fragment}) : std::string{}});
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
