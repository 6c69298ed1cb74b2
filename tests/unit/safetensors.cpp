// SPDX-License-Identifier: Apache-2.0
// The safetensors reader and writer: a file made by NumPy, byte for byte, and every kind of invalid file with
// its error message.
#include <doctest/doctest.h>
#include <diloco/core/float_formats.hpp>
#include <diloco/state/safetensors.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <random>

namespace st = diloco::safetensors;

namespace {

using bytes = std::vector<std::byte>;

/// A file with this header, valid or not, and `count` bytes of data.
bytes file_of(std::string_view header, std::size_t count, std::uint64_t claimed_length) {
  bytes file(8 + header.size() + count, std::byte{7});
  std::memcpy(file.data(), &claimed_length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}
bytes file_of(std::string_view header, std::size_t count) { return file_of(header, count, header.size()); }

/// The error message for these bytes without its first part, or "no error". The bytes have their own
/// allocation of exact size, so AddressSanitizer finds a read beyond them.
std::string said_of(bytes const& file) {
  std::unique_ptr<std::byte[]> const exact(new std::byte[file.size()]);
  std::copy(file.begin(), file.end(), exact.get());
  auto const got = st::read({exact.get(), file.size()}, "weights");
  if (got) return "no error";
  CHECK(got.error().what == diloco::cause::bad_file);
  std::string const beginning = "diloco: safetensors 'weights': ";
  CHECK(got.error().message.starts_with(beginning));
  return got.error().message.substr(std::min(beginning.size(), got.error().message.size()));
}
std::string said_of(std::string_view header, std::size_t count) { return said_of(file_of(header, count)); }

/// The header entry of an F32 tensor of `floats` elements at [begin, end).
std::string floats_at(std::string const& name, int floats, int begin, int end) {
  return diloco::say({"\"", name, "\":{\"dtype\":\"F32\",\"shape\":[", floats, "],\"data_offsets\":[", begin,
                      ",", end, "]}"});
}

bool same(st::contents const& a, st::contents const& b) {
  auto const equal = [](st::entry const& x, st::entry const& y) {
    return x.name == y.name && x.type == y.type && x.shape == y.shape && std::ranges::equal(x.bytes, y.bytes);
  };
  return std::ranges::equal(a.entries, b.entries, equal) && a.notes == b.notes;
}

template <class T>
std::vector<T> values_of(st::contents const& c, std::string_view name) {
  st::entry const* const e = c.find(name);
  REQUIRE(e != nullptr);
  auto const values = e->as<T>();
  REQUIRE(values.has_value());
  return {values->begin(), values->end()};
}

std::string_view view_of(bytes const& b) { return {reinterpret_cast<char const*>(b.data()), b.size()}; }

/// The numbers of fixtures/layout.safetensors, and their entries in an order that no file has.
struct layout_file {
  std::vector<float> matrix{1.5f, -2.0f, 0.0f, 3e-45f, -0.0f, 6.0f}, none;
  std::vector<double> scalar{-1.0 / 3};
  std::vector<std::int64_t> i64{-1, std::numeric_limits<std::int64_t>::min()};
  std::vector<std::uint64_t> u64{~std::uint64_t{0}};
  std::vector<std::int32_t> i32{-7, 8, 9};
  std::vector<std::uint32_t> u32{0xDEADBEEF};
  std::vector<std::int16_t> i16{-300};
  std::vector<std::uint16_t> u16{65535}, f16{0x3C00, 0xC000, 0x7BFF}, bf16{0x3F80, 0xFF80};
  std::vector<std::uint8_t> u8{0, 255, 1}, flags{1, 0, 1};
  std::vector<std::int8_t> i8{-128, 127};

  [[nodiscard]] st::contents holds() const {
    auto const as = [](st::dtype type, st::entry e) {
      e.type = type;
      return e;
    };
    auto const of = [](std::string name, std::vector<std::size_t> shape, auto const& v) {
      return st::entry_of(std::move(name), std::move(shape), std::span(v));
    };
    return {
        {of("matrix", {2, 3}, matrix), as(st::dtype::boolean, of("flags", {3}, flags)),
         of("scalar", {}, scalar), of("none", {0, 4}, none),
         of("\xCE\xB8\xCC\x84 \"quoted\"\\\n\x01/", {1}, u32), of("i64", {2}, i64), of("u64", {1, 1}, u64),
         of("i32", {3}, i32), of("i16", {1}, i16), of("u16", {1}, u16), of("u8", {3}, u8), of("i8", {2}, i8),
         as(st::dtype::f16, of("f16", {3}, f16)), as(st::dtype::bf16, of("bf16", {2}, bf16))},
        {{"z", "last\t"}, {"about", "every type, \xF0\x9F\x90\x8D"}}};
  }
};

}  // namespace

TEST_CASE("safetensors: what NumPy laid out is read, and written again to the byte") {
  layout_file const expected;
  auto const file = st::load(DILOCO_GOLDEN_DIR "/layout.safetensors");
  REQUIRE(file.has_value());
  st::contents const& got = file->holds;
  CHECK(got.entries.size() == 14);
  CHECK(got.entries.front().name == "u64");
  CHECK(got.entries.back().name == "flags");
  CHECK(got.find("scalar")->shape.empty());
  CHECK(got.find("none")->shape == std::vector<std::size_t>{0, 4});
  CHECK(got.find("matrix")->shape == std::vector<std::size_t>{2, 3});
  CHECK(got.find("nobody") == nullptr);
  CHECK(*got.note("z") == "last\t");
  CHECK(got.note("nothing") == nullptr);
  CHECK(values_of<double>(got, "scalar") == expected.scalar);
  CHECK(values_of<std::int64_t>(got, "i64") == expected.i64);
  CHECK(values_of<std::uint64_t>(got, "u64") == expected.u64);
  CHECK(values_of<std::uint32_t>(got, "\xCE\xB8\xCC\x84 \"quoted\"\\\n\x01/") == expected.u32);
  CHECK(values_of<std::int8_t>(got, "i8") == expected.i8);
  CHECK(std::signbit(values_of<float>(got, "matrix")[4]));
  CHECK(values_of<float>(got, "matrix") == expected.matrix);
  auto const written = st::write(expected.holds());
  REQUIRE(written.has_value());
  CHECK(view_of(*written) == view_of({file->memory.bytes().begin(), file->memory.bytes().end()}));
}

TEST_CASE(
    "safetensors: whatever is written is read again, in any order of listing, in memory and through a file") {
  std::mt19937 draw(11);
  auto const upto = [&](unsigned n) { return static_cast<std::size_t>(draw() % (n + 1)); };
  std::vector<std::byte> pool(64 * 1024);
  for (std::byte& b : pool) b = static_cast<std::byte>(draw());
  std::string const path = (std::filesystem::temp_directory_path() / "diloco_unit_safetensors").string();
  for (int trial = 0; trial < 100; ++trial) {
    st::contents c;
    for (std::size_t i = upto(9); i > 0; --i) {
      st::entry e{diloco::say({"t", i, trial % 2 == 0 ? "" : "\"\\\x1f\xC2\x80"}),
                  static_cast<st::dtype>(upto(14)),
                  {},
                  {}};
      for (std::size_t d = upto(3); d > 0; --d) e.shape.push_back(upto(6));
      e.bytes = std::span(pool).subspan(upto(1000), *st::tensor_bytes(e.type, e.shape));
      c.entries.push_back(std::move(e));
    }
    if (trial % 3 == 0) c.notes = {{"b", "\n"}, {"a", ""}};
    auto const once = st::write(c);
    REQUIRE(once.has_value());
    std::shuffle(c.entries.begin(), c.entries.end(), draw);
    auto const shuffled = st::write(c);
    REQUIRE(shuffled.has_value());
    CHECK(*once == *shuffled);
    auto const back = st::read(*once, "memory");
    REQUIRE(back.has_value());
    REQUIRE(st::header_of(c).has_value());  // sorts them
    CHECK(same(*back, c));
    for (st::entry const& e : back->entries) {
      CHECK(static_cast<std::size_t>(e.bytes.data() - once->data()) % st::bytes_of(e.type) == 0);
    }
    REQUIRE(st::save(path, c).has_value());
    auto const file = st::load(path);
    REQUIRE(file.has_value());
    CHECK(same(file->holds, c));
    CHECK(std::bit_cast<std::uintptr_t>(file->memory.data()) % 64 == 0);
  }
  std::filesystem::remove(path);
}

TEST_CASE("safetensors: no prefix of a file and no file with bytes after its end is one") {
  auto whole = *st::write(layout_file().holds());
  CHECK(said_of(whole) == "no error");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK(said_of(bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n))) != "no error");
  }
  std::string const two = "{" + floats_at("a", 1, 0, 4) + "," + floats_at("b", 2, 4, 12) + "}";
  CHECK(said_of(two, 12) == "no error");
  CHECK(said_of(two, 11) ==
        "tensor 'b' ends at byte 12 of the data, of which 11 are there; it was cut short: copy or write it "
        "again");
  CHECK(said_of(two, 13) == "bytes 12 to 13 of its data belong to no tensor; write it again");
  CHECK(said_of("{}", 0) == "no error");
  CHECK(said_of("{}", 1) == "bytes 0 to 1 of its data belong to no tensor; write it again");
  CHECK(said_of(bytes(7)) ==
        "its 7 bytes are too few for the length of a header; it was cut short: copy or write it again");
  CHECK(said_of(file_of("{}", 5, 8)) ==
        "its header has 8 bytes, of which 7 are there; it was cut short: copy or write it again");
}

TEST_CASE("safetensors: lengths beyond all bounds") {
  CHECK(said_of(file_of("{}", 0, 100'000'001)) ==
        "its header would have 100000001 bytes and may have 100000000; this is no safetensors file");
  CHECK(
      said_of(file_of("{}", 0, ~std::uint64_t{0})) ==
      "its header would have 18446744073709551615 bytes and may have 100000000; this is no safetensors file");
  CHECK(said_of(file_of("{}", 0, 100'000'000)) ==
        "its header has 100000000 bytes, of which 2 are there; it was cut short: copy or write it again");
  auto const shaped = [](std::string const& shape, std::string const& offsets) {
    return said_of("{\"w\":{\"dtype\":\"F32\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", 8);
  };
  CHECK(shaped("[4294967296,4294967296]", "[0,8]") ==
        "tensor 'w' is F32 [4294967296, 4294967296], more bytes than 64 bits count; write it again");
  CHECK(shaped("[4611686018427387904]", "[0,0]") ==  // 2^62 elements are 2^64 bytes, which overflow to 0
        "tensor 'w' is F32 [4611686018427387904], more bytes than 64 bits count; write it again");
  CHECK(shaped("[4611686018427387903]", "[4,18446744073709551612]") ==
        "tensor 'w' is F32 [4611686018427387903], which takes 18446744073709551612 bytes, and was given "
        "18446744073709551608; write it again");
  CHECK(shaped("[4611686018427387903]", "[0,18446744073709551612]") ==
        "tensor 'w' ends at byte 18446744073709551612 of the data, of which 8 are there; it was cut short: "
        "copy or write "
        "it again");
  CHECK(shaped("[18446744073709551616]", "[0,8]") ==
        "header: at byte 48: a number is above 2^64 - 1; write it again");
  std::string many = "[1";
  for (int i = 1; i < 64; ++i) many += ",1";
  CHECK(shaped(many + "]", "[0,4]") == "bytes 4 to 8 of its data belong to no tensor; write it again");
  CHECK(shaped(many + ",1]", "[0,4]") ==
        "header: at byte 157: a list has more than 64 numbers; write it again");
}

TEST_CASE("safetensors: tensors tile the data") {
  auto const two = [](std::string const& a, std::string const& b) {
    return said_of("{" + a + "," + b + "}", 12);
  };
  CHECK(two(floats_at("b", 2, 4, 12), floats_at("a", 1, 0, 4)) == "no error");  // listed in any order
  CHECK(two(floats_at("a", 2, 0, 8), floats_at("b", 2, 4, 12)) ==
        "tensor 'b' begins at byte 4 of the data, where others reach to 8; write it again");
  CHECK(two(floats_at("a", 3, 0, 12), floats_at("b", 1, 4, 8)) ==
        "tensor 'b' begins at byte 4 of the data, where others reach to 12; write it again");
  CHECK(two(floats_at("a", 1, 0, 4), floats_at("b", 1, 8, 12)) ==
        "bytes 4 to 8 of its data belong to no tensor; write it again");
  CHECK(two(floats_at("a", 1, 4, 8), floats_at("b", 1, 8, 12)) ==
        "bytes 0 to 4 of its data belong to no tensor; write it again");
  CHECK(two(floats_at("a", 1, 8, 4), floats_at("b", 1, 8, 12)) ==
        "tensor 'a' ends at byte 4, before it begins at 8; write it again");
  CHECK(two(floats_at("a", 2, 0, 4), floats_at("b", 2, 4, 12)) ==
        "tensor 'a' is F32 [2], which takes 8 bytes, and was given 4; write it again");
  CHECK(two(floats_at("a", 1, 0, 8), floats_at("b", 1, 8, 12)) ==
        "tensor 'a' is F32 [1], which takes 4 bytes, and was given 8; write it again");
  CHECK(two(floats_at("a", 3, 0, 12), floats_at("b", 0, 12, 12)) == "no error");
  CHECK(two(floats_at("a", 3, 0, 12), floats_at("b", 0, 4, 4)) ==
        "tensor 'b' begins at byte 4 of the data, where others reach to 12; write it again");
  CHECK(two(floats_at("a", 3, 0, 12), floats_at("a", 0, 12, 12)) ==
        "the tensor 'a' is given twice; write it again");
}

TEST_CASE("safetensors: the header is JSON of one form") {
  auto const header = [](std::string const& text) {
    std::string const said = said_of(text, 4);
    if (!said.starts_with("header: ")) return said;
    CHECK(said.ends_with("; write it again"));
    return said.substr(8, said.size() - 8 - std::string_view("; write it again").size());
  };
  std::string const good = floats_at("w", 1, 0, 4);
  auto const body = [&](std::string const& text) { return header("{\"w\":{" + text + "}}"); };
  CHECK(header("{" + good + "}") == "no error");
  CHECK(header(" {\t" + good + "\r\n} ") == "no error");
  CHECK(header("") == "at byte 0: '{' is missing");
  CHECK(header("[]") == "at byte 0: '{' is missing");
  CHECK(header("{") == "at byte 1: a string is expected");
  CHECK(header("{" + good) == "at byte 53: '}' is missing");
  CHECK(header("{" + good + "}x") == "at byte 54: something follows the end");
  CHECK(header("{" + good + "},") == "at byte 54: something follows the end");
  CHECK(header("{" + good + ",}") == "at byte 54: a string is expected");
  CHECK(header("{\"w\"}") == "at byte 4: ':' is missing");
  CHECK(header("{\"w\":7}") == "at byte 5: '{' is missing");
  CHECK(header("{\"w\":{}}") == "at byte 7: tensor 'w' lacks 'dtype'");
  CHECK(body("\"dtype\":\"F32\",\"shape\":[1]") == "at byte 32: tensor 'w' lacks 'data_offsets'");
  CHECK(body("\"dtype\":\"F32\",\"data_offsets\":[0,4]") == "at byte 41: tensor 'w' lacks 'shape'");
  CHECK(body("\"dtype\":\"F31\"") == "at byte 20: tensor 'w' lacks 'shape'");
  CHECK(body("\"dtype\":32") == "at byte 14: a string is expected");
  CHECK(body("\"colour\":32") == "at byte 18: tensor 'w' lacks 'dtype'");
  CHECK(body("\"dtype\":\"F32\",\"dtype\":\"F32\"") == "at byte 28: 'dtype' is given twice");
  CHECK(body("\"shape\":[-1]") == "at byte 15: a whole number is expected, not below 0");
  CHECK(body("\"shape\":[1.0]") == "at byte 16: ']' is missing");
  CHECK(body("\"shape\":[1e0]") == "at byte 16: ']' is missing");
  CHECK(body("\"shape\":[01]") == "at byte 17: a number begins with 0");
  CHECK(body("\"shape\":[1,]") == "at byte 17: a whole number is expected, not below 0");
  CHECK(body("\"shape\":null") == "at byte 14: '[' is missing");
  CHECK(body("\"data_offsets\":[0]") == "at byte 24: data_offsets are two numbers, begin and end");
  CHECK(body("\"data_offsets\":[0,4,8]") == "at byte 26: a list has more than 2 numbers");
  CHECK(body("\"data_offsets\":[0,4 8]") == "at byte 26: ']' is missing");
}

TEST_CASE("safetensors: what is not known does not hide what is") {
  auto const tensor = [](std::string const& name, std::string const& rest, int begin, int end) {
    return diloco::say({"\"", name, "\":{", rest, ",\"data_offsets\":[", begin, ",", end, "]}"});
  };
  std::string const f4 = tensor("odd", "\"dtype\":\"F4\",\"shape\":[3,2]", 4, 7);
  std::string const known = floats_at("a", 1, 0, 4) + "," + floats_at("z", 2, 7, 15);
  auto const listed = [&](std::string const& odd) {
    auto const file = file_of("{" + known + "," + odd + "}", 15);
    auto const got = st::read(file, "f");
    if (!got) return got.error().message;
    CHECK(got->entries.size() == 2);
    REQUIRE(got->find("z") != nullptr);
    CHECK(got->find("z")->bytes.data() == file.data() + file.size() - 8);
    REQUIRE(got->unread.size() == 1);
    CHECK(got->find(got->unread[0].name) == nullptr);
    CHECK(got->unread[0].bytes.data() == file.data() + file.size() - 11);
    CHECK(got->unread[0].bytes.size() == 3);
    return got->unread[0].name + " " + got->unread[0].why;
  };
  CHECK(listed(f4) == "odd has the dtype 'F4', which we do not know");
  CHECK(listed(tensor("odd", "\"dtype\":\"\",\"shape\":[]", 4, 7)) ==
        "odd has the dtype '', which we do not know");
  std::string const bytes3 = "\"dtype\":\"U8\",\"shape\":[3]";
  for (char const* value : {"1", "-1.5e-3", "true", "null", "\"x\"", "[]", "{}", "[1,[2,{\"b\":[]}],\"c\"]",
                            "{\"a\":{\"b\":false}}"}) {
    CAPTURE(value);
    CHECK(listed(tensor("odd", bytes3 + ",\"strides\":" + value, 4, 7)) ==
          "odd has 'strides', which we do not know");
  }
  // Its byte range is checked as strictly as that of others.
  auto const of = [&](std::string const& odd) { return said_of("{" + known + "," + odd + "}", 15); };
  std::string const what = "\"dtype\":\"F4\",\"shape\":[3,2]";
  CHECK(of(tensor("odd", what, 4, 6)) == "bytes 6 to 7 of its data belong to no tensor; write it again");
  CHECK(of(tensor("odd", what, 3, 7)) ==
        "tensor 'odd' begins at byte 3 of the data, where others reach to 4; write it again");
  CHECK(of(tensor("odd", what, 7, 4)) ==
        "tensor 'odd' ends at byte 4, before it begins at 7; write it again");
  CHECK(of(tensor("odd", what, 15, 16)).starts_with("bytes 4 to 7 of its data belong to no tensor"));
  CHECK(of(tensor("a", what, 4, 7)) == "the tensor 'a' is given twice; write it again");
  for (char const* bad :
       {"", "-", "1.", "1e", "tru", "[1", "[1,]", "{\"a\"}", "{\"a\":}", "{1:2}", "[1}", "\"x"}) {
    CAPTURE(bad);
    CHECK(of(tensor("odd", bytes3 + ",\"strides\":" + bad, 4, 7)).starts_with("header: at byte "));
  }
  CHECK(of(tensor("odd", bytes3 + ",\"x\":" + std::string(64, '[') + std::string(64, ']'), 4, 7)) ==
        "no error");
  CHECK(of(tensor("odd", bytes3 + ",\"x\":" + std::string(65, '['), 4, 7)) ==
        "header: at byte 208: values nest more than 64 deep; write it again");
}

TEST_CASE(
    "safetensors: reserved names of the header that are no tensors are listed, and a partial read is not "
    "written") {
  for (char const* value : {"1", "\"x\"", "{}", "{\"a\":[1]}"}) {
    auto const got = st::read(
        file_of(std::string("{\"__version__\":") + value + "," + floats_at("a", 1, 0, 4) + "}", 4), "f");
    REQUIRE(got.has_value());
    CHECK(got->entries.size() == 1);
    REQUIRE(got->unread.size() == 1);
    CHECK(got->unread[0].name == "__version__");
    CHECK(got->unread[0].why == "is no tensor");
  }
  CHECK(said_of("{" + floats_at("__a__", 1, 0, 4) + "}", 4) == "no error");
  auto const file = file_of("{\"odd\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1);
  auto partial = st::read(file, "f");
  REQUIRE(partial.has_value());
  auto const refused = st::write(*partial);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().message ==
        "diloco: safetensors: tensor 'odd' was not read, because it has the dtype 'F4', which we do not "
        "know; clear "
        "`unread` to write the others");
  partial->unread.clear();
  CHECK(st::write(*partial).has_value());
}

TEST_CASE("safetensors: nesting, however deep, is refused where it begins") {
  for (std::string const opening : {"[", "{\"a\":", "{\"a\":["}) {
    std::string deep;
    while (deep.size() < 1'000'000) deep += opening;
    CHECK(said_of("{\"w\":{\"shape\":[" + deep, 0) ==
          "header: at byte 15: a whole number is expected, not below 0; write it again");
    CHECK(said_of("{\"__metadata__\":{\"a\":" + deep, 0) ==
          "header: at byte 21: a string is expected; write it again");
    CHECK(said_of(deep, 0).starts_with("header: at byte "));
  }
}

TEST_CASE("safetensors: notes are texts by name") {
  auto const notes = [](std::string const& text) { return said_of("{\"__metadata__\":" + text + "}", 0); };
  CHECK(notes("{}") == "no error");
  CHECK(notes("{\"a\":\"b\",\"c\":\"\"}") == "no error");
  CHECK(notes("{\"a\":1}") == "header: at byte 21: a string is expected; write it again");
  CHECK(notes("{\"a\":{}}") == "header: at byte 21: a string is expected; write it again");
  CHECK(notes("{\"a\":\"b\",\"a\":\"c\"}") == "the note 'a' is given twice; write it again");
  CHECK(notes("{},\"__metadata__\":{}") ==
        "header: at byte 34: '__metadata__' is given twice; write it again");
}

TEST_CASE("safetensors: strings") {
  // What a note with this text holds, or the error.
  auto const text = [](std::string const& quoted) {
    auto const file = file_of("{\"__metadata__\":{\"a\":\"" + quoted + "\"}}", 0);
    auto const got = st::read(file, "f");
    return got ? *got->note("a")
               : got.error().message.substr(std::string_view("diloco: safetensors 'f': header: ").size());
  };
  CHECK(text("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x8D") ==
        "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x8D");
  CHECK(text(R"(\"\\\/\b\f\n\r\t)") == "\"\\/\b\f\n\r\t");
  CHECK(text(R"(\u0041\u00e9\u20AC\ud83d\uDC0D)") == "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x8D");
  CHECK(text(R"(\u0000)") == std::string(1, '\0'));
  for (char const* bad : {R"(\x)", R"(\u12)", R"(\u12g4)", R"(\U0041)", R"(\')", R"(\u 041)"}) {
    CAPTURE(bad);
    CHECK(text(bad) == "at byte 22: an escape is none of JSON's; write it again");
  }
  for (char const* bad :
       {R"(\ud83d)", R"(\udc0d)", R"(\ud83dx)", R"(\ud83d\n)", R"(\ud83d\u0041)", R"(\ud83d\ud83d)"}) {
    CAPTURE(bad);
    CHECK(text(bad).ends_with(": half of a surrogate pair stands alone; write it again"));
  }
  for (char const* bad :
       {"\x80", "\xC3", "\xC3x", "\xC0\x80", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "\xE2\x82x"}) {
    CAPTURE(bad);
    CHECK(text(bad) == "at byte 22: a string is not UTF-8; write it again");
  }
  for (char const* edge :
       {"\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(text(edge) == edge);
  }
  CHECK(text("\n") == "at byte 22: a control character stands in a string unescaped; write it again");
  CHECK(said_of("{\"w", 0) == "header: at byte 3: a string does not end; write it again");
  CHECK(said_of("{\"w\\", 0) == "header: at byte 3: an escape is none of JSON's; write it again");
}

TEST_CASE("safetensors: sentences show names without their control characters, and not more than 64 bytes") {
  CHECK(said_of("{" + floats_at("a\\u001b[2J\\n", 1, 0, 0) + "}", 0) ==
        "tensor 'a?[2J?' is F32 [1], which takes 4 bytes, and was given 0; write it again");
  std::string const name = std::string(63, 'x') + "\xC3\xA9" + std::string(100'000, 'y');  // the cut splits é
  CHECK(said_of("{" + floats_at(name, 1, 0, 0) + "}", 0) ==
        "tensor '" + std::string(63, 'x') +
            "...' is F32 [1], which takes 4 bytes, and was given 0; write it again");
}

TEST_CASE("safetensors: elements are looked at in place as what they are, where they are aligned") {
  std::string const header = "{" + floats_at("w", 2, 0, 8) + "}  ";
  for (std::size_t shift : {0u, 1u, 2u, 4u}) {
    CAPTURE(shift);
    bytes memory(200);
    auto const file = file_of(header, 8);
    std::size_t const aligned = 64 - (std::bit_cast<std::uintptr_t>(memory.data()) + 8 + header.size()) % 64;
    std::span const place = std::span(memory).subspan(aligned + shift, file.size());
    std::ranges::copy(file, place.begin());
    auto const got = st::read(place, "f");
    REQUIRE(got.has_value());
    auto const values = got->entries[0].as<float>();
    CHECK(values.has_value() == (shift % 4 == 0));
    if (shift % 4 != 0) {
      CHECK(values.error().message == "diloco: tensor 'w' lies at no multiple of 4 bytes; copy its bytes");
    } else {
      CHECK(values->size() == 2);
      CHECK(diloco::bits_of((*values)[1]) == 0x07070707u);
    }
    CHECK(got->entries[0].as<std::uint32_t>().error().message == "diloco: tensor 'w' holds F32, not U32");
  }
}

TEST_CASE("safetensors: what cannot be written") {
  std::vector<float> const two(2);
  auto const said = [&](std::vector<st::entry> entries,
                        std::vector<std::pair<std::string, std::string>> notes = {}) {
    auto const got = st::write({std::move(entries), std::move(notes)});
    return got ? std::string("no error") : got.error().message;
  };
  auto const of = [&](std::string name, std::vector<std::size_t> shape) {
    return st::entry_of(std::move(name), std::move(shape), std::span(two));
  };
  CHECK(said({of("a", {2}), of("b", {1, 2})}) == "no error");
  CHECK(said({of("a", {3})}) ==
        "diloco: safetensors: tensor 'a' is F32 [3], which takes 12 bytes, and has 8");
  CHECK(
      said({of("a", {~std::size_t{0}})}) ==
      "diloco: safetensors: tensor 'a' is F32 [18446744073709551615], which 64 bits do not count, and has 8");
  CHECK(said({of("a", {2}), of("b", {2}), of("a", {2})}) ==
        "diloco: safetensors: the name 'a' is given twice");
  CHECK(said({of("a\xFF", {2})}) == "diloco: safetensors: tensor 'a...' has a name that is not UTF-8");
  CHECK(said({of("__metadata__", {2})}) ==
        "diloco: safetensors: tensor '__metadata__' has the name that the format keeps for its notes");
  CHECK(said({of("a", std::vector<std::size_t>(65, 1))}) ==
        "diloco: safetensors: tensor 'a' has more than 64 dimensions");
  CHECK(said({}, {{"a", "b"}, {"a", "c"}}) == "diloco: safetensors: the name 'a' is given twice");
  CHECK(said({}, {{"a", "\xC3"}}) == "diloco: safetensors: note 'a' is not UTF-8");
  CHECK(said({}, {{"a", std::string(100'000'000, 'x')}}) ==
        "diloco: safetensors: the header has 100000032 bytes and may have 100000000; write fewer tensors");
}

TEST_CASE("safetensors: files that the system does not give or take") {
  CHECK(st::load("/nowhere/at all").error().message ==
        "diloco: cannot read '/nowhere/at all': No such file or directory");
  std::string const folder = std::filesystem::temp_directory_path().string();
  CHECK(st::load(folder).error().message == "diloco: cannot read '" + folder + "': Is a directory");
  CHECK(st::save(folder, {}).error().message == "diloco: cannot write '" + folder + "': Is a directory");
  std::vector<float> const some(1 << 16);
  st::contents const c{{st::entry_of("w", {some.size()}, std::span(some))}, {}};
  if (std::filesystem::exists("/dev/full")) {
    auto const full = st::save("/dev/full", c);
    REQUIRE_FALSE(full.has_value());
    CHECK(full.error().what == diloco::cause::bad_file);
    CHECK(full.error().message == "diloco: cannot write '/dev/full': No space left on device");
    auto const full_at_close = st::save("/dev/full", {});
    REQUIRE_FALSE(full_at_close.has_value());
    CHECK(full_at_close.error().message == "diloco: cannot write '/dev/full': No space left on device");
  }
  std::string const path =
      (std::filesystem::temp_directory_path() / "diloco_unit_safetensors_short").string();
  REQUIRE(st::save(path, c).has_value());
  std::filesystem::resize_file(path, 100);
  auto const cut = st::load(path);
  REQUIRE_FALSE(cut.has_value());
  CHECK(cut.error().message ==
        "diloco: safetensors '" + path +
            "': tensor 'w' ends at byte 262144 of the data, of which 28 are there; it was cut "
            "short: copy or write it again");
  std::filesystem::remove(path);
}
