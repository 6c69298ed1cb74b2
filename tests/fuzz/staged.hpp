// SPDX-License-Identifier: Apache-2.0
// Any staged compressor. The payload of one tensor is made of arbitrary bytes, and so are numbers that it
// must accept.
#pragma once

#include "decoder.hpp"
#include "laws/staged.hpp"

#include <algorithm>

namespace fuzz {

template <class C>
struct any_staged {
  /// Three bytes give the numbers of rows and columns, at most 16 × 512.
  static void check(bytes input) {
    auto const byte = [&](std::size_t i) {
      return i < input.size() ? std::to_integer<std::size_t>(input[i]) : 0;
    };
    laws::staged_wire<C> w{{{1 + byte(0) % 16, 1 + (byte(1) << 8 | byte(2)) % 512}}};
    bytes const rest = after(input, 3);
    for (std::size_t i = 0; i < w.payload().size() && !rest.empty(); ++i)
      w.payload()[i] = rest[i % rest.size()];
    all_finite(w, "bytes that nobody wrote");
    if constexpr (agrees_on_memory<C>) {  // and the memory after a round of them
      w.commit(0);
      all_finite(w, "bytes that nobody wrote, and a memory made of them", 1);
    }
    auto const numbers = numbers_of<C>(rest, static_cast<int>(w.values[0].size()));
    w.values[0] = numbers;
    for (std::uint64_t round : {0, 1}) {
      if (w.encode(round) != message_header::no_row)
        broken(C::name, "refuses numbers of at most its largest");
      all_finite(w, "its own bytes", round);
      w.commit(round);
    }
  }
  static std::vector<std::byte> seed(bool whole) {
    laws::staged_wire<C> w{
        {{whole ? std::size_t{16} : std::size_t{3}, whole ? std::size_t{256} : std::size_t{33}}}};
    w.values[0] = laws::numbers(29).many(w.values[0].size(), 0.01f);
    if (w.encode() != message_header::no_row) broken(C::name, "refuses its seed");
    std::vector<std::byte> input{whole ? std::byte{15} : std::byte{2}, std::byte{0},
                                 whole ? std::byte{255} : std::byte{32}};
    auto const payload = w.payload();
    input.insert(input.end(), payload.begin(), payload.begin() + std::min<long>(long(payload.size()), 2000));
    return input;
  }

 private:
  static void all_finite(laws::staged_wire<C>& w, char const* what, std::uint64_t round = 0) {
    auto const decoded = w.decode(round);
    for (std::size_t i = 0; i < decoded[0].size(); ++i) {
      if (!std::isfinite(decoded[0][i]))
        broken(C::name, say({what, ": element ", i, " decodes to ", decoded[0][i]}));
    }
  }
};

}  // namespace fuzz
