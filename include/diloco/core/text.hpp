// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace diloco {
inline namespace v0 {

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

}  // namespace v0
}  // namespace diloco
