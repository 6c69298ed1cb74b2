// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/state/safetensors_entry.hpp>

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace safetensors::detail {
using namespace diloco::detail;

inline constexpr std::string_view notes_key = "__metadata__";

/// An entry whose byte range is not checked yet.
struct placed {
  entry is;
  std::uint64_t begin = 0, end = 0;
  std::string type, unknown;  // `unknown`: why the entry cannot be interpreted, or empty
};

/// Reads one file. Each step returns false after the first error.
class reading {
 public:
  /// From all its bytes.
  explicit reading(std::span<std::byte const> file) : file_(file), bytes_(file.size()) {}
  /// From the bytes up to the end of its header, and its length. The tensors then have no bytes, and lie one
  /// behind the other.
  reading(std::span<std::byte const> start, std::uint64_t bytes)
      : file_(start), bytes_(bytes), has_data_(false) {}

  bool run() { return split() && header() && unique() && place(); }
  [[nodiscard]] std::string const& validation_error() const { return invalid_; }
  [[nodiscard]] contents take() { return std::move(out_); }

 private:
  bool fail(std::initializer_list<piece> pieces) {
    if (invalid_.empty()) invalid_ = say(pieces);
    return false;
  }
  bool fail(entry const& e, std::initializer_list<piece> pieces) {
    return fail({"tensor '", printable(e.name), "' ", say(pieces)});
  }

  bool split() {
    std::uint64_t length = 0;
    if (file_.size() < sizeof length) {
      return fail({"its ", bytes_, " bytes are too few for the length of a header", cut_short});
    }
    std::memcpy(&length, file_.data(), sizeof length);
    data_ = file_.subspan(sizeof length);
    if (length > header_bytes_limit) {
      return fail({"its header would have ", length, " bytes and may have ", header_bytes_limit,
                   "; this is no safetensors file"});
    }
    if (length > data_.size()) {
      return fail(
          {"its header has ", length, " bytes, of which ", bytes_ - sizeof length, " are there", cut_short});
    }
    text_ = {reinterpret_cast<char const*>(data_.data()), static_cast<std::size_t>(length)};
    data_ = data_.subspan(text_.size());
    bytes_ -= sizeof length + length;
    return true;
  }

  bool header() {
    json_reader json(text_);
    bool const fits =
        members(json,
                [&](std::string& key) {
                  return key == notes_key ? read_notes(json) : read_tensor(json, std::move(key));
                }) &&
        json.expect_end();
    return fits || fail({"header: ", json.validation_error(), write_again});
  }

  /// Reads { "key": value, … }. `value` reads one value.
  template <class Value>
  static bool members(json_reader& json, Value value) {
    if (!json.expect('{')) return false;
    if (json.accept('}')) return true;
    std::string key;
    do {
      if (!json.read(key) || !json.expect(':') || !value(key)) return false;
    } while (json.accept(','));
    return json.expect('}');
  }

  bool read_notes(json_reader& json) {
    if (has_notes_) return json.fail("'__metadata__' is given twice");
    has_notes_ = true;
    return members(json, [&](std::string& key) {
      std::string value;
      if (!json.read(value)) return false;
      out_.notes.emplace_back(std::move(key), std::move(value));
      return true;
    });
  }

  bool read_tensor(json_reader& json, std::string name) {
    bool const reserved = name.size() > 4 && name.starts_with("__") && name.ends_with("__");
    if (reserved && !json.next_is('{'))
      return out_.unread.push_back({std::move(name), no_tensor}), json.skip_value();
    placed& t = tensors_.emplace_back();
    t.is.name = std::move(name);
    constexpr std::array<std::string_view, 3> keys{"dtype", "shape", "data_offsets"};
    unsigned seen = 0;
    bool const fits = members(json, [&](std::string const& key) {
      auto const which = static_cast<unsigned>(std::find(keys.begin(), keys.end(), key) - keys.begin());
      if (which == keys.size()) {
        if (t.unknown.empty()) t.unknown = say({"has '", printable(key), "', which we do not know"});
        return json.skip_value();
      }
      if ((seen & 1u << which) != 0) return json.fail(say({"'", key, "' is given twice"}));
      seen |= 1u << which;
      if (which == 0) return read_type(json, t);
      std::vector<std::uint64_t> numbers;
      if (!read_numbers(json, which == 1 ? dimensions_limit : 2, numbers)) return false;
      if (which == 1) return t.is.shape.assign(numbers.begin(), numbers.end()), true;
      if (numbers.size() != 2) return json.fail("data_offsets are two numbers, begin and end");
      return t.begin = numbers[0], t.end = numbers[1], true;
    });
    if (fits && reserved && seen == 0) {
      out_.unread.push_back({std::move(t.is.name), no_tensor});
      return tensors_.pop_back(), true;
    }
    return fits &&
           (seen == 7 || json.fail(say({"tensor '", printable(t.is.name), "' lacks '",
                                        keys[static_cast<std::size_t>(std::countr_one(seen))], "'"})));
  }

  static bool read_type(json_reader& json, placed& t) {
    if (!json.read(t.type)) return false;
    auto const at = std::find(dtype_names.begin(), dtype_names.end(), t.type);
    if (at == dtype_names.end())
      t.unknown = say({"has the dtype '", printable(t.type), "', which we do not know"});
    else
      t.is.type = static_cast<dtype>(at - dtype_names.begin());
    return true;
  }

  static bool read_numbers(json_reader& json, std::size_t most, std::vector<std::uint64_t>& out) {
    if (!json.expect('[')) return false;
    if (json.accept(']')) return true;
    do {
      if (out.size() == most) return json.fail(say({"a list has more than ", most, " numbers"}));
      if (!json.read(out.emplace_back())) return false;
    } while (json.accept(','));
    return json.expect(']');
  }

  bool unique() {
    std::vector<std::string_view> names, keys;
    for (placed const& t : tensors_) names.push_back(t.is.name);
    for (unread_entry const& e : out_.unread) names.push_back(e.name);
    for (auto const& n : out_.notes) keys.push_back(n.first);
    return unique(names, "the tensor") && unique(keys, "the note");
  }
  bool unique(std::vector<std::string_view>& names, std::string_view kind) {
    std::sort(names.begin(), names.end());
    auto const twice = std::adjacent_find(names.begin(), names.end());
    return twice == names.end() || fail({kind, " '", printable(*twice), "' is given twice", write_again});
  }

  /// Sorts tensors by their byte range and checks that they cover the data: each must begin where the
  /// previous one ends.
  bool place() {
    // The sort is stable, so tensors without elements keep the order of the header.
    std::stable_sort(tensors_.begin(), tensors_.end(), [](placed const& a, placed const& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::uint64_t reached = 0;
    for (placed& t : tensors_) {
      if (!fits(t)) return false;
      if (t.begin < reached) {
        return fail(
            t.is, {"begins at byte ", t.begin, " of the data, where others reach to ", reached, write_again});
      }
      if (t.begin > reached) {
        return fail({"bytes ", reached, " to ", t.begin, " of its data belong to no tensor", write_again});
      }
      reached = t.end;
      if (has_data_)
        t.is.bytes =
            data_.subspan(static_cast<std::size_t>(t.begin), static_cast<std::size_t>(t.end - t.begin));
      if (t.unknown.empty())
        out_.entries.push_back(std::move(t.is));
      else
        out_.unread.push_back({std::move(t.is.name), std::move(t.unknown), std::move(t.type),
                               std::move(t.is.shape), t.is.bytes});
    }
    return reached == bytes_ ||
           fail({"bytes ", reached, " to ", bytes_, " of its data belong to no tensor", write_again});
  }

  bool fits(placed const& t) {
    if (!t.unknown.empty()) return inside(t);
    auto const bytes = tensor_bytes(t.is.type, t.is.shape);
    std::string const what = say({"is ", name_of(t.is.type), " ", shape_text(t.is.shape)});
    if (!bytes) return fail(t.is, {what, ", more bytes than 64 bits count", write_again});
    if (t.end >= t.begin && t.end - t.begin != *bytes) {
      return fail(t.is,
                  {what, ", which takes ", *bytes, " bytes, and was given ", t.end - t.begin, write_again});
    }
    return inside(t);
  }

  bool inside(placed const& t) {
    if (t.end < t.begin)
      return fail(t.is, {"ends at byte ", t.end, ", before it begins at ", t.begin, write_again});
    if (t.end > bytes_) {
      return fail(t.is, {"ends at byte ", t.end, " of the data, of which ", bytes_, " are there", cut_short});
    }
    return true;
  }

  static constexpr std::string_view cut_short = "; it was cut short: copy or write it again";
  static constexpr char const* no_tensor = "is no tensor";
  static constexpr std::string_view write_again = "; write it again";

  std::span<std::byte const> file_, data_;
  std::uint64_t bytes_;  // of the file, and then of its data
  bool has_data_ = true;
  std::string_view text_;
  std::vector<placed> tensors_;
  bool has_notes_ = false;
  contents out_;
  std::string invalid_;
};

}  // namespace safetensors::detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
