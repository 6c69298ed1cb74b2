// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/text.hpp>

#include <charconv>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

template <std::floating_point T>
DILOCO_COLD inline char* write_shortest(char* to, T x) {
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
DILOCO_COLD [[gnu::noinline]] DILOCO_CORE char* write_number(char* to, float x) {
  return write_shortest(to, x);
}
DILOCO_COLD [[gnu::noinline]] DILOCO_CORE char* write_number(char* to, double x) {
  return write_shortest(to, x);
}
DILOCO_COLD [[gnu::noinline]] DILOCO_CORE char* write_number(char* to, long long n) {
  return std::to_chars(to, to + 32, n).ptr;
}
DILOCO_COLD [[gnu::noinline]] DILOCO_CORE char* write_number(char* to, unsigned long long n) {
  return std::to_chars(to, to + 32, n).ptr;
}

}  // namespace detail

DILOCO_CORE std::string three_digits(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x, std::chars_format::general, 3).ptr};
}

DILOCO_COLD DILOCO_CORE std::string bytes_text(double bytes) {
  constexpr std::string_view units[] = {" B", " kB", " MB", " GB", " TB"};
  std::size_t unit = 0;
  for (; bytes >= 999.5 && unit < 4; ++unit) bytes /= 1000;
  return say({three_digits(bytes), units[unit]});
}

DILOCO_COLD [[gnu::noinline]] DILOCO_CORE std::size_t write_pieces(std::span<char> to,
                                                                   std::initializer_list<piece> pieces) {
  std::size_t n = 0;
  for (piece const& p : pieces) n += p.view().copy(to.data() + n, to.size() - n);
  return n;
}

DILOCO_COLD [[gnu::noinline]] DILOCO_CORE std::string say(std::initializer_list<piece> pieces) {
  std::string sentence;
  for (piece const& p : pieces) sentence.append(p.view());
  return sentence;
}

DILOCO_COLD [[gnu::noinline]] DILOCO_CORE std::string cut(std::string_view text, std::size_t most) {
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
