// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Compile-time text of parts and numbers. It makes the names of policy templates, e.g. "absmax4/256".
template <std::size_t N>
struct fixed_text {
  std::array<char, N> characters{};
  std::size_t length = 0;
  constexpr fixed_text& operator+=(std::string_view s) {
    for (char c : s) characters[length++] = c;
    return *this;
  }
  constexpr fixed_text& operator+=(unsigned n) {
    if (n >= 10) *this += n / 10;
    characters[length++] = static_cast<char>('0' + n % 10);
    return *this;
  }
  [[nodiscard]] constexpr std::string_view view() const { return {characters.data(), length}; }
};

template <class... Parts>
constexpr fixed_text<48> join(Parts... parts) {
  fixed_text<48> text;
  ((text += parts), ...);
  return text;
}

namespace detail {

/// Writes x in the style of "%g", with the fewest digits that read back as the same value of this type. 0.7f
/// is "0.7", and the float above it "0.70000005". The locale has no effect. Returns the end; 32 characters
/// are enough.
template <std::floating_point T>
DILOCO_COLD [[gnu::noinline]] inline char* write_number(char* to, T x) {
  if (x != x) return to + std::string_view("nan").copy(to, 3);
  char digits[32];
  char* const end = std::to_chars(digits, digits + sizeof digits, x, std::chars_format::scientific).ptr;
  std::string_view const all(digits, static_cast<std::size_t>(end - digits));
  std::size_t const at = all.find('e');
  if (at == all.npos) return to + all.copy(to, all.size());  // inf
  char const* const e = digits + at;
  int exponent = 0;
  std::from_chars(e + (e[1] == '+' ? 2 : 1), end, exponent);
  int const count = static_cast<int>(e - digits) - (digits[0] == '-' ? 1 : 0) - (e - digits > 2 ? 1 : 0);
  if (exponent < -4 || exponent >= (count > 7 ? count : 7)) return to + all.copy(to, all.size());
  return std::to_chars(to, to + 32, x, std::chars_format::fixed).ptr;
}
DILOCO_COLD [[gnu::noinline]] inline char* write_number(char* to, long long n) {
  return std::to_chars(to, to + 32, n).ptr;
}
DILOCO_COLD [[gnu::noinline]] inline char* write_number(char* to, unsigned long long n) {
  return std::to_chars(to, to + 32, n).ptr;
}

}  // namespace detail

/// A piece of text, or a number as the shortest text that identifies it, independent of the locale.
class piece {
 public:
  piece(std::string_view text) : text_(text) {}
  piece(std::string const& text) : text_(text) {}
  piece(char const* text) : text_(text) {}
  template <std::integral T>
  piece(T n) {
    if constexpr (std::is_signed_v<T>)
      end(detail::write_number(digits_, static_cast<long long>(n)));
    else
      end(detail::write_number(digits_, static_cast<unsigned long long>(n)));
  }
  template <std::floating_point T>
  piece(T x) {
    end(detail::write_number(digits_,
                             static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(x)));
  }
  [[nodiscard]] std::string_view view() const {
    return length_ != 0 ? std::string_view(digits_, length_) : text_;
  }

 private:
  void end(char const* at) { length_ = static_cast<std::size_t>(at - digits_); }
  std::string_view text_;
  std::size_t length_ = 0;  // of the digits
  char digits_[32];
};

/// Three digits, for costs: 4.125 → "4.12".
inline std::string three_digits(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x, std::chars_format::general, 3).ptr};
}

/// Writes the pieces to `to` without allocating, and cuts them where `to` ends. Returns the number of
/// characters written.
DILOCO_COLD [[gnu::noinline]] inline std::size_t write_pieces(std::span<char> to,
                                                              std::initializer_list<piece> pieces) {
  std::size_t n = 0;
  for (piece const& p : pieces) n += p.view().copy(to.data() + n, to.size() - n);
  return n;
}

/// Joins the pieces into one sentence. It is out of line on purpose, because chains of operator+ took a
/// quarter of a user's compile time.
DILOCO_COLD [[gnu::noinline]] inline std::string say(std::initializer_list<piece> pieces) {
  std::string sentence;
  for (piece const& p : pieces) sentence.append(p.view());
  return sentence;
}

/// Cuts foreign text to at most `most` bytes (16 or more). A longer text keeps both ends around "...", cut
/// between UTF-8 characters. Control characters become '?'.
inline std::string cut(std::string_view text, std::size_t most) {
  auto const begins = [&](std::size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0u) != 0x80u; };
  std::string out(text);
  if (text.size() > most) {
    std::size_t head = (most - 3) / 2, tail = text.size() - (most - 3) / 2;
    while (head != 0 && !begins(head)) --head;
    while (tail != text.size() && !begins(tail)) ++tail;
    out = say({text.substr(0, head), "...", text.substr(tail)});
  }
  for (char& c : out) c = static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  return out;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
