// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/text.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Bytes of the UTF-8 character at the start of `text`. Returns 0 if it is truncated, overlong, a surrogate
/// or above U+10FFFF.
inline std::size_t utf8_length(std::string_view text) {
  auto const byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  unsigned const first = byte(0);
  std::size_t const length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (first > 0xF4 || length > text.size()) return 0;
  // After four of the first bytes, the second byte has a narrower range. After all others it is 80…BF.
  unsigned const low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned const high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (length > 1 && (byte(1) < low || byte(1) > high)) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return length;
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    std::size_t const n = utf8_length(text);
    if (n == 0) return false;
    text.remove_prefix(n);
  }
  return true;
}

inline void append_utf8(std::string& out, std::uint32_t point) {
  auto const tail = [&](unsigned shift) { out.push_back(static_cast<char>(0x80 | (point >> shift & 0x3F))); };
  if (point < 0x80) {
    out.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    out.push_back(static_cast<char>(0xC0 | point >> 6));
    tail(0);
  } else if (point < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | point >> 12));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | point >> 18));
    tail(12), tail(6), tail(0);
  }
}

/// Reads the JSON of our formats token by token: punctuation, strings, and whole numbers from 0 to 2⁶⁴ − 1.
/// The caller's own calls form the nesting, so no input can make the reader recurse.
/// The first error is kept, and every later call returns false. Cost: one pass, and memory for the strings
/// that are kept.
class json_reader {
 public:
  explicit json_reader(std::string_view text) : text_(text) {}

  [[nodiscard]] bool failed() const { return !invalid_.empty(); }
  [[nodiscard]] std::string const& validation_error() const { return invalid_; }

  /// Records the error "at byte 12: `what`", unless there was one before. Returns false, for use in `return`.
  bool fail(std::string_view what) {
    if (!failed()) invalid_ = say({"at byte ", at_, ": ", what});
    return false;
  }

  /// Consumes `c` if it is the next character.
  bool accept(char c) {
    skip_space();
    if (failed() || at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  [[nodiscard]] bool next_is(char c) {
    skip_space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool expect(char c) { return accept(c) || fail(say({"'", std::string_view(&c, 1), "' is missing"})); }

  /// Requires that only white space is left.
  bool expect_end() {
    skip_space();
    return !failed() && (at_ == text_.size() || fail("something follows the end"));
  }

  bool read(std::string& out) {
    out.clear();
    if (!accept('"')) return fail("a string is expected");
    while (!failed()) {
      if (at_ == text_.size()) return fail("a string does not end");
      char const c = text_[at_];
      if (c == '"') {
        ++at_;
        return true;
      }
      if (c == '\\')
        escape(out);
      else
        character(out);
    }
    return false;
  }

  /// Checks and discards one value of any kind. Values inside it may nest up to 64 deep.
  bool skip_value() {
    std::string open, key;  // brackets that are still open, the innermost last
    do {
      skip_space();
      char const c = at_ < text_.size() ? text_[at_] : '\0';
      if (c == '{' || c == '[') {
        if (open.size() == 64) return fail("values nest more than 64 deep");
        ++at_;
        open.push_back(c);
        if (!accept(closing(c))) {
          if (c == '{' && !(read(key) && expect(':'))) return false;
          continue;
        }
        open.pop_back();
      } else if (c == '"' ? !read(key) : !skip_plain()) {
        return false;
      }
      while (!open.empty() && !accept(',')) {
        if (!expect(closing(open.back()))) return false;
        open.pop_back();
      }
      if (open.empty()) return true;
      if (open.back() == '{' && !(read(key) && expect(':'))) return false;
    } while (!failed());
    return false;
  }

  bool read(std::uint64_t& out) {
    skip_space();
    std::size_t const first = at_;
    out = 0;
    for (; !failed() && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      auto const digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (out > (~std::uint64_t{0} - digit) / 10) return fail("a number is above 2^64 - 1");
      out = out * 10 + digit;
    }
    if (at_ == first) return fail("a whole number is expected, not below 0");
    if (text_[first] == '0' && at_ > first + 1) return fail("a number begins with 0");
    return true;
  }

 private:
  static char closing(char opening) { return opening == '{' ? '}' : ']'; }

  /// Skips a number, true, false or null.
  bool skip_plain() {
    for (std::string_view word : {"true", "false", "null"}) {
      if (text_.substr(at_).starts_with(word)) return at_ += word.size(), true;
    }
    auto const digits = [&] {
      std::size_t const first = at_;
      while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') ++at_;
      return at_ != first;
    };
    auto const take = [&](std::string_view any) {
      bool const there = at_ < text_.size() && any.find(text_[at_]) != std::string_view::npos;
      at_ += there ? 1 : 0;
      return there;
    };
    take("-");
    bool fine = digits();
    if (fine && take(".")) fine = digits();
    if (fine && take("eE")) take("+-"), fine = digits();
    return fine || fail("a value is expected");
  }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }

  bool character(std::string& out) {
    std::size_t const n = utf8_length(text_.substr(at_));
    if (n == 0) return fail("a string is not UTF-8");
    if (static_cast<unsigned char>(text_[at_]) < 0x20)
      return fail("a control character stands in a string unescaped");
    out.append(text_.substr(at_, n));
    at_ += n;
    return true;
  }

  bool escape(std::string& out) {
    constexpr std::string_view letters = "\"\\/bfnrt", meant = "\"\\/\b\f\n\r\t";
    char const letter = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (std::size_t const i = letters.find(letter); i != std::string_view::npos) {
      out.push_back(meant[i]);
      at_ += 2;
      return true;
    }
    std::uint32_t point = 0, low = 0;
    if (!code_unit(point)) return fail("an escape is none of JSON's");
    if (point >= 0xD800 && point < 0xDC00 && code_unit(low) && low >= 0xDC00 && low < 0xE000) {
      point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
    }
    if (point >= 0xD800 && point < 0xE000) return fail("half of a surrogate pair stands alone");
    append_utf8(out, point);
    return true;
  }

  /// Reads \uXXXX.
  bool code_unit(std::uint32_t& unit) {
    std::string_view const s = text_.substr(at_, 6);
    if (s.size() < 6 || s[0] != '\\' || s[1] != 'u') return false;
    unit = 0;
    for (char c : s.substr(2)) {
      char const lower = c >= 'A' && c <= 'F' ? static_cast<char>(c + ('a' - 'A')) : c;
      std::size_t const digit = std::string_view("0123456789abcdef").find(lower);
      if (digit == std::string_view::npos) return false;
      unit = unit << 4 | static_cast<std::uint32_t>(digit);
    }
    at_ += 6;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string invalid_;
};

/// Appends `text` as a JSON string with the shortest escapes. Characters above U+001F, other than quote and
/// backslash, are written unchanged.
inline void append_json(std::string& out, std::string_view text) {
  constexpr std::string_view meant = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt", digits = "0123456789abcdef";
  out.push_back('"');
  for (char c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (std::size_t const i = meant.find(c); i != std::string_view::npos) {
      out.push_back('\\');
      out.push_back(letters[i]);
    } else if (byte < 0x20) {
      out.append("\\u00");
      out.push_back(digits[byte >> 4]);
      out.push_back(digits[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

/// Makes `text` safe for error messages: at most 64 bytes and no control characters, which would overwrite a
/// terminal.
inline std::string printable(std::string_view text) {
  std::string out(text.substr(0, 64));
  for (char& c : out) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  while (!out.empty() && !is_utf8(out)) out.pop_back();  // the cut may split a character
  return out.size() < text.size() ? out + "..." : out;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
