// SPDX-License-Identifier: Apache-2.0
// Runs the safetensors reader on arbitrary bytes with libFuzzer. An input is read twice: as a whole file, and
// as a header after one byte that gives the length of the data.
// The second reading is needed because few inputs begin with their own length.
//
//   fuzz.safetensors -dict=tests/fuzz/safetensors.dict [-max_total_time=SECONDS] NEW_FINDS
//       tests/fuzz/safetensors
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

/// In floating point, which cannot overflow here.
double expected_bytes(st::entry const& e) {
  double bytes = static_cast<double>(st::bytes_of(e.type));
  for (std::size_t n : e.shape) bytes *= static_cast<double>(n);
  return bytes;
}

/// Accepted tensors tile the data, and every name appears once. The contents survive writing in any order of
/// the list.
void check_contents(st::contents c, std::span<std::byte const> file) {
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  std::byte const* next = file.data() + 8 + header;
  std::size_t unread_bytes = 0;
  for (st::unread_entry const& e : c.unread) unread_bytes += e.bytes.size();
  bool const whole = unread_bytes == 0;
  for (st::entry const& e : c.entries) {
    if (whole ? e.bytes.data() != next : e.bytes.data() < next)
      broken("'" + e.name + "' does not begin where the one before ends");
    if (expected_bytes(e) != static_cast<double>(e.bytes.size()))
      broken("'" + e.name + "' has other bytes than its shape");
    next = e.bytes.data() + e.bytes.size();
    if (c.find(e.name) != &e) broken("'" + e.name + "' is there twice");
  }
  if (whole && next != file.data() + file.size()) broken("bytes that belong to no tensor were accepted");
  for (st::unread_entry const& e : c.unread) {
    bool const inside = e.bytes.data() >= file.data() + 8 + header && e.bytes.size() <= file.size() &&
                        e.bytes.data() + e.bytes.size() <= file.data() + file.size();
    if (!e.bytes.empty() && !inside) broken("an entry that is not read reaches out of the file");
  }
  if (!c.unread.empty() && st::write(c)) broken("a partial read was written");
  c.unread.clear();
  auto const written = st::write(c);
  if (!written) broken("what was read cannot be written: " + written.error().message);
  auto const again = st::read(*written, "input");
  if (!again) broken("what was written cannot be read: " + again.error().message);
  for (st::entry const& e : again->entries) {
    if (static_cast<std::size_t>(e.bytes.data() - written->data()) % st::bytes_of(e.type) != 0)
      broken("not aligned");
  }
  std::ranges::reverse(c.entries);
  if (*st::write(c) != *written) broken("its bytes depend on the order of listing");
  if (!st::header_of(c) || !same(*again, c)) broken("it changed by being written");
}

/// Copies the input to an allocation of exact size, so AddressSanitizer reports the first access beyond it.
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

/// A header over `count` bytes of data that is one step away from a valid file.
struct near_miss {
  std::string name, header;
  unsigned char data;
};

std::vector<near_miss> refused() {
  auto const tensor = [](std::string const& name, std::string const& shape, std::string const& offsets) {
    return "\"" + name + R"(":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[)" + offsets + "]}";
  };
  auto const two = [&](std::string const& a, std::string const& b, std::string const& second = "b") {
    return "{" + tensor("a", "1", a) + "," + tensor(second, "1", b) + "}";
  };
  std::string const note = R"({"__metadata__":{"n":")", end = "\"}," + tensor("a", "2", "0,8") + "}";
  return {
      {"overlap", two("0,4", "0,4"), 4},
      {"hole_before", "{" + tensor("a", "1", "4,8") + "}", 8},
      {"hole_after", "{" + tensor("a", "1", "0,4") + "}", 8},
      {"beyond", two("0,4", "4,8"), 7},
      {"twice", two("0,4", "4,8", "a"), 8},
      {"overflow", "{" + tensor("a", "2", "0,8") + "," + tensor("b", "4611686018427387904", "8,8") + "}", 8},
      {"low_surrogate", note + "\\udc0d" + end, 8},
      {"not_utf8", note + "\xC3" + end, 8},
      {"escape", note + "\\x" + end, 8}};
}

void write_seeds(std::string const& folder) {
  std::vector<float> const w{1, 2, 3, 4, 5, 6};
  std::vector<std::uint8_t> const flags{1, 0};
  std::vector<std::int64_t> const count{-1};
  auto flag = st::entry_of("a.flags", {2}, std::span(flags));
  flag.type = st::dtype::boolean;
  st::contents const c{
      {st::entry_of("w\n\xC3\xA9\"", {2, 3}, std::span(w)), flag,
       st::entry_of("none", {0}, std::span(w).first(0)), st::entry_of("i", {}, std::span(count))},
      {{"about", "a\tseed"}}};
  bytes const file = *st::write(c);
  write_seed(folder + "/whole", file);
  write_seed(folder + "/empty", *st::write({}));
  for (near_miss const& miss : refused()) {
    bytes seed(1 + miss.header.size(), static_cast<std::byte>(miss.data));
    std::memcpy(seed.data() + 1, miss.header.data(), miss.header.size());
    write_seed(folder + "/refused." + miss.name, seed);
  }
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
