// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Compile-time text of `Stem` followed by numbers: the names of policy templates, e.g. "absmax4/256".
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

/// Text, or a number as the shortest text that names it.
class piece {
 public:
  piece(std::string_view text) : text_(text) {}
  piece(std::string const& text) : text_(text) {}
  piece(char const* text) : text_(text) {}
  template <std::integral T>
  piece(T n) {
    if constexpr (std::is_signed_v<T>)
      print("%lld", static_cast<long long>(n));
    else
      print("%llu", static_cast<unsigned long long>(n));
  }
  template <std::floating_point T>
  piece(T x) {
    print("%.7g", static_cast<double>(x));
  }
  [[nodiscard]] std::string_view view() const { return digits_[0] != 0 ? std::string_view(digits_) : text_; }

 private:
  [[gnu::noinline]] void print(char const* format, auto number) {
    std::snprintf(digits_, sizeof digits_, format, number);
  }
  std::string_view text_;
  char digits_[24] = {};
};

/// 4.125 → "4.12": for costs.
inline std::string three_digits(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", x);
  return text;
}

/// The pieces as one sentence. Out of line on purpose: chains of operator+ were a quarter of a user's compile time.
[[gnu::noinline]] inline std::string say(std::initializer_list<piece> pieces) {
  std::string sentence;
  for (piece const& p : pieces) sentence.append(p.view());
  return sentence;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
