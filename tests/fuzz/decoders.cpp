// SPDX-License-Identifier: Apache-2.0
// Every decoder of the wire against bytes that nobody wrote, by libFuzzer. The first byte of an input picks the decoder.
//
//   fuzz.decoders [-max_total_time=SECONDS] NEW_FINDS tests/fuzz/corpus
//   fuzz.decoders CRASH_FILE              once, to see what broke
//   fuzz.decoders --seeds tests/fuzz/corpus     writes the corpus: two inputs for each decoder
#include "decoder.hpp"

#include <array>
#include <fstream>

namespace {

using namespace fuzz;

template <class Kind>
constexpr decoder entry(std::string_view name) {
  return {name, &Kind::check, &Kind::seed};
}

/// A new kind of decoder goes to the end: its place here is the first byte of the files in the corpus. A new block
/// compressor is listed in laws/codec.hpp, at the end too.
template <class... C>
constexpr auto list(std::tuple<C...>*) {
  using vote = sign<256, sign_scale::vote>;
  return std::array{entry<any_frame>("frame"), entry<any_block<vote>>(vote::name), entry<any_block<C>>(C::name)...};
}
constexpr auto decoders = list(static_cast<laws::block_compressors*>(nullptr));

void write_seeds(std::string const& folder) {
  for (std::size_t i = 0; i < decoders.size(); ++i) {
    std::string name(decoders[i].name);
    std::replace(name.begin(), name.end(), '/', '_');
    for (bool whole : {true, false}) {
      auto const seed = decoders[i].seed(whole);
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
  if (!input.empty()) decoders[std::to_integer<std::size_t>(input[0]) % decoders.size()].check(input.subspan(1));
  return 0;
}
