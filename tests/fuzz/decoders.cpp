// SPDX-License-Identifier: Apache-2.0
// Runs every message decoder on arbitrary bytes with libFuzzer. The first byte of an input selects the
// decoder.
//
//   fuzz.decoders [-max_total_time=SECONDS] NEW_FINDS tests/fuzz/corpus
//   fuzz.decoders CRASH_FILE              once, to see what broke
//   fuzz.decoders --seeds tests/fuzz/corpus     writes the corpus: two inputs for each decoder
#include "staged.hpp"

#include <array>
#include <fstream>

namespace {

using namespace fuzz;

template <class Kind>
constexpr decoder entry(std::string_view name) {
  return {name, &Kind::check, &Kind::seed};
}

/// Add a new kind of decoder at the end, because its index is the first byte of the files in the corpus. List
/// a new block compressor in laws/codec.hpp, also at the end.
template <class... C>
constexpr auto list(std::tuple<C...>*) {
  using vote = sign<256, sign_scale::vote>;
  return std::array{entry<any_header>("message header"), entry<any_block<vote>>(vote::name),
                    entry<any_block<C>>(C::name)...};
}
constexpr auto decoders = list(static_cast<laws::block_compressors*>(nullptr));

/// The same for staged compressors, with a first byte of 128 and more.
constexpr auto staged_decoders = [] {
  using halves = top_k<64, kept_as::f16>;
  using small = top_k<5, kept_as::two_bits, 256>;
  using symmetric = statistical<4, buckets::symmetric>;
  using common = low_rank<2, factors::common>;
  return std::array{entry<any_staged<top_k<64>>>(top_k<64>::name),
                    entry<any_staged<halves>>(halves::name),
                    entry<any_staged<small>>(small::name),
                    entry<any_staged<random_k<64>>>(random_k<64>::name),
                    entry<any_staged<statistical<16>>>(statistical<16>::name),
                    entry<any_staged<statistical<256>>>(statistical<256>::name),
                    entry<any_staged<symmetric>>(symmetric::name),
                    entry<any_staged<low_rank<2>>>(low_rank<2>::name),
                    entry<any_staged<dct_top_k<32>>>(dct_top_k<32>::name),
                    entry<any_staged<common>>(common::name)};
}();

decoder const& decoder_of(std::byte first) {
  auto const i = std::to_integer<std::size_t>(first);
  return i < 128 ? decoders[i % decoders.size()] : staged_decoders[(i - 128) % staged_decoders.size()];
}

void write_seeds(std::string const& folder) {
  for (std::size_t i = 0; i < 128 + staged_decoders.size(); i = i + 1 == decoders.size() ? 128 : i + 1) {
    decoder const& d = decoder_of(static_cast<std::byte>(i));
    std::string name(d.name);
    std::replace(name.begin(), name.end(), '/', '_');
    for (bool whole : {true, false}) {
      auto const seed = d.seed(whole);
      std::ofstream out(folder + "/" + name + (whole ? ".whole" : ".tail"), std::ios::binary);
      out.put(static_cast<char>(i));
      out.write(reinterpret_cast<char const*>(seed.data()), static_cast<std::streamsize>(seed.size()));
      if (!out.flush()) broken(name, "its seed cannot be written to " + folder);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  if (*count != 3 || std::string_view((*arguments)[1]) != "--seeds") return 0;
  write_seeds((*arguments)[2]);
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  bytes const input(reinterpret_cast<std::byte const*>(data), size);
  if (!input.empty()) decoder_of(input[0]).check(input.subspan(1));
  return 0;
}
