// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <array>
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
constexpr fixed_text<160> join(Parts... parts) {
  fixed_text<160> text;
  ((text += parts), ...);
  return text;
}

namespace detail {

/// Writes x in the style of "%g", with the fewest digits that read back as the same value of this type. 0.7f
/// is "0.7", and the float above it "0.70000005". The locale has no effect. Returns the end; 32 characters
/// are enough.
char* write_number(char* to, float x);
char* write_number(char* to, double x);
char* write_number(char* to, long long n);
char* write_number(char* to, unsigned long long n);

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
std::string three_digits(double x);
/// 1234567 → "1.23 MB"; units of 1000.
std::string bytes_text(double bytes);

/// Writes the pieces to `to` without allocating, and cuts them where `to` ends. Returns the number of
/// characters written.
std::size_t write_pieces(std::span<char> to, std::initializer_list<piece> pieces);

/// Joins the pieces into one sentence. It is out of line on purpose, because chains of operator+ took a
/// quarter of a user's compile time.
std::string say(std::initializer_list<piece> pieces);

/// Cuts foreign text to at most `most` bytes (16 or more). A longer text keeps both ends around "...", cut
/// between UTF-8 characters. Control characters become '?'.
std::string cut(std::string_view text, std::size_t most);

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/core/text_definitions.hpp>
#endif
