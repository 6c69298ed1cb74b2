// SPDX-License-Identifier: Apache-2.0
// The safetensors reader against bytes that nobody wrote, by libFuzzer. An input is read twice: as a whole file, and as a
// header behind one byte that says how much data follow it, for few inputs begin with their own length.
//
//   fuzz.safetensors -dict=tests/fuzz/safetensors.dict [-max_total_time=SECONDS] NEW_FINDS tests/fuzz/safetensors
//   fuzz.safetensors CRASH_FILE                       once, to see what broke
//   fuzz.safetensors --seeds tests/fuzz/safetensors   writes the corpus
#include <diloco/state/safetensors.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace {

using namespace diloco;
namespace st = diloco::safetensors;
using bytes = std::vector<std::byte>;

[[noreturn]] void broken(std::string const& what) {
  std::fprintf(stderr, "safetensors: %s\n", what.c_str());
  std::abort();
}

void check_sentence(error const& e) {
  bool const said = e.what == cause::bad_file && e.message.starts_with("diloco: safetensors 'input': ");
  if (!said || e.message.size() > 4096) broken("a refusal that is no sentence: " + e.message);
  for (char c : e.message) {
    if (static_cast<unsigned char>(c) < 0x20) broken("a sentence with control characters");
  }
  if (!detail::is_utf8(e.message)) broken("a sentence that is not UTF-8");
}

bool same(st::contents const& a, st::contents const& b) {
  auto const equal = [](st::entry const& x, st::entry const& y) {
    return x.name == y.name && x.type == y.type && x.shape == y.shape && std::ranges::equal(x.bytes, y.bytes);
  };
  return std::ranges::equal(a.entries, b.entries, equal) && a.notes == b.notes;
}

/// What was accepted tiles the data, and survives being written.
void check_contents(st::contents c, std::span<std::byte const> file) {
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  std::byte const* next = file.data() + 8 + header;
  for (st::entry const& e : c.entries) {
    if (e.bytes.data() != next) broken("'" + e.name + "' does not begin where the one before ends");
    if (st::tensor_bytes(e.type, e.shape) != e.bytes.size()) broken("'" + e.name + "' has other bytes than its shape");
    next += e.bytes.size();
  }
  if (next != file.data() + file.size()) broken("bytes that belong to no tensor were accepted");
  auto const written = st::write(c);
  if (!written) broken("what was read cannot be written: " + written.error().message);
  auto const again = st::read(*written, "input");
  if (!again) broken("what was written cannot be read: " + again.error().message);
  if (!st::header_of(c) || !same(*again, c)) broken("it changed by being written");
}

/// In memory of its own, exactly as long: AddressSanitizer sees the first byte that is touched beyond it.
void check_file(std::span<std::byte const> input) {
  std::unique_ptr<std::byte[]> const exact(new std::byte[input.size()]);
  std::ranges::copy(input, exact.get());
  std::span<std::byte const> const file(exact.get(), input.size());
  auto const got = st::read(file, "input");
  if (got)
    check_contents(*got, file);
  else
    check_sentence(got.error());
}

bytes behind_length(std::span<std::byte const> header, std::size_t data) {
  std::uint64_t const length = header.size();
  bytes file(sizeof length + header.size() + data);
  std::memcpy(file.data(), &length, sizeof length);
  std::ranges::copy(header, file.begin() + sizeof length);
  return file;
}

void write_seed(std::string const& path, std::span<std::byte const> seed) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<char const*>(seed.data()), static_cast<std::streamsize>(seed.size()));
  if (!out.flush()) broken("a seed cannot be written to " + path);
}

void write_seeds(std::string const& folder) {
  std::vector<float> const w{1, 2, 3, 4, 5, 6};
  std::vector<std::uint8_t> const flags{1, 0};
  auto flag = st::entry_of("a.flags", {2}, std::span(flags));
  flag.type = st::dtype::boolean;
  st::contents const c{
      {st::entry_of("w\n\xC3\xA9\"", {2, 3}, std::span(w)), flag, st::entry_of("none", {0}, std::span(w).first(0))},
      {{"about", "a\tseed"}}};
  bytes const file = *st::write(c);
  write_seed(folder + "/whole", file);
  write_seed(folder + "/empty", *st::write({}));
  bytes header(file.begin() + 7, file.end() - 26);  // its first byte is the last of the length
  header[0] = std::byte{26};
  write_seed(folder + "/header", header);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
  if (*count != 3 || std::string_view((*arguments)[1]) != "--seeds") return 0;
  write_seeds((*arguments)[2]);
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  std::span const input(reinterpret_cast<std::byte const*>(data), size);
  check_file(input);
  if (!input.empty()) check_file(behind_length(input.subspan(1), data[0]));
  return 0;
}
