// SPDX-License-Identifier: Apache-2.0
// Numbers are written and printed in the same way in every locale, also with a decimal comma and digit
// groups. Two different values print differently.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/state/safetensors.hpp>

#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <locale>

using namespace diloco;

namespace {

/// C's locale gets a decimal comma if the system has such a locale or can build one. The locale of C++
/// streams also groups digits.
class foreign {
 public:
  foreign() : before_(std::locale::global(std::locale(std::locale::classic(), new punctuation))) {
    for (char const* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"})
      there_ = there_ || take(name);
    if (there_) return;
    auto const folder = std::filesystem::temp_directory_path() / "diloco_locale";
    std::filesystem::create_directories(folder);
    std::string const build =
        "localedef -i de_DE -f UTF-8 " + (folder / "de_DE.UTF-8").string() + " >/dev/null 2>&1";
    static_cast<void>(std::system(build.c_str()));
    setenv("LOCPATH", folder.c_str(), 1);
    there_ = take("de_DE.UTF-8");
    unsetenv("LOCPATH");
  }
  foreign(foreign const&) = delete;
  foreign& operator=(foreign const&) = delete;
  ~foreign() {
    std::setlocale(LC_ALL, "C");
    std::locale::global(before_);
  }
  [[nodiscard]] bool there() const { return there_; }

 private:
  struct punctuation : std::numpunct<char> {
    [[nodiscard]] char do_decimal_point() const override { return ','; }
    [[nodiscard]] char do_thousands_sep() const override { return '.'; }
    [[nodiscard]] std::string do_grouping() const override { return "\3"; }
  };
  static bool take(char const* name) {
    return std::setlocale(LC_ALL, name) != nullptr && std::localeconv()->decimal_point[0] == ',';
  }
  std::locale before_;
  bool there_ = false;
};

std::string jsonl_lines() {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  jsonl const probe{file, 3};
  probe(round_landed{4000000001, 12345678, 9876543, 0.1 + 0.2, 1234.5});
  probe(round_aborted{7, 2});
  std::rewind(file);
  char text[1024] = {};
  std::size_t const n = std::fread(text, 1, sizeof text, file);
  std::fclose(file);
  return {text, n};
}

std::string description() {
  toy::model m({300, 12345});
  using trainer = DiLoCo<adamw, nesterov, absmax<4>, alone>;
  return trainer({.transport = alone{}, .schedule = every(1234567), .clip_norm = 0.5f}, m.parameters())
      .describe();
}

}  // namespace

TEST_CASE("numbers in sentences, records and descriptions follow no locale") {
  std::string const description_before = description(), record = jsonl_lines();
  CHECK(
      record ==
      "{\"event\":\"round_landed\",\"rank\":3,\"round\":4000000001,\"step\":12345678,\"sent_bytes\":9876543,"
      "\"wait_seconds\":0.30000000000000004,\"total_weight\":1234.5}\n"
      "{\"event\":\"round_aborted\",\"rank\":3,\"round\":7,\"cause\":2}\n");
  CHECK(description_before.find("clipped at 0.5") != std::string::npos);
  CHECK(description_before.find("every 1234567 ") != std::string::npos);
  foreign const locale;
  if (!locale.there()) MESSAGE("no locale with a decimal comma can be had here");
  CHECK(description() == description_before);
  CHECK(jsonl_lines() == record);
  CHECK(say({1234567.5, " ", 0.25f, " ", 7654321, " ", -0.0}) == "1234567.5 0.25 7654321 -0");
  CHECK(three_digits(1234.5) == "1.23e+03");
  CHECK(three_digits(4.125) == "4.12");
  CHECK(field_text(nesterov{}) == "lr=0.7 momentum=0.9");
  CHECK(field_error("outer", nesterov{.lr = -0.5f}) ==
        "diloco: outer nesterov: lr = -0.5 must be a number not below 0");
  std::vector<float> const values(1234);
  safetensors::contents c{{safetensors::entry_of("w", {1234}, std::span(values))}};
  CHECK(safetensors::header_of(c)->substr(8, 58) ==
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[1234],\"data_offsets\":[0,4936]");
}

TEST_CASE("two numbers that differ print differently, and as short as they can") {
  auto const differ = [](auto a, auto b) {
    return std::string(piece(a).view()) != std::string(piece(b).view());
  };
  for (float x : {0.7f, 1.0f, 3.4028234e38f, 1e-45f, 1.1754944e-38f, 16777215.0f, 1e7f, 0.1f, 65504.0f, 1e-4f,
                  9.999e-5f}) {
    CAPTURE(x);
    CHECK(differ(x, std::nextafter(x, 0.0f)));
    CHECK(std::strtof(std::string(piece(x).view()).c_str(), nullptr) == x);
    double const d = static_cast<double>(x) * (1.0 / 3);
    CHECK(differ(d, std::nextafter(d, 0.0)));
    CHECK(std::strtod(std::string(piece(d).view()).c_str(), nullptr) == d);
  }
  CHECK(say({0.7f, " ", std::nextafter(0.7f, 1.0f), " ", 0.1, " ", 1.0 / 3}) ==
        "0.7 0.70000005 0.1 0.3333333333333333");
  CHECK(say({1e-8f, " ", 1e-4f, " ", 1e6f, " ", 1e7f, " ", 16777216.0f, " ", 4e9, " ", 4000000001.0}) ==
        "1e-08 0.0001 1000000 1e+07 16777216 4e+09 4000000001");
  CHECK(say({4000000001u, " ", 4000000003ll, " ", std::numeric_limits<long>::min(), " ", true}) ==
        "4000000001 4000000003 -9223372036854775808 1");
  CHECK(say({std::numeric_limits<double>::lowest(), " ", -std::numeric_limits<double>::denorm_min()}) ==
        "-1.7976931348623157e+308 -5e-324");
  float const nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(say({nan, " ", -nan, " ", std::numeric_limits<float>::infinity(), " ",
             -std::numeric_limits<double>::infinity()}) == "nan nan inf -inf");
}

TEST_CASE("integer fields print, hash and compare as integers") {
  std::uint64_t const far = (std::uint64_t{1} << 53) + 1;
  CHECK(field_text(qsgd<4>{.seed = far - 1}) == "seed=9007199254740992");
  CHECK(field_text(qsgd<4>{.seed = 4000000003}).find("seed=4000000003") == 0);
  CHECK(fingerprint(natural{.seed = far}) != fingerprint(natural{.seed = far - 1}));
  CHECK(field_text(every(1234567890)) == "inner_steps=1234567890");
  CHECK(field_error("schedule", every(-1234567890)) ==
        "diloco: schedule every: inner_steps = -1234567890 must be a number not below 1");
}

TEST_CASE("text that came from elsewhere is cut between characters and shows no control characters") {
  CHECK(cut("abc", 16) == "abc");
  CHECK(cut(std::string(16, 'x'), 16) == std::string(16, 'x'));
  CHECK(cut(std::string(17, 'x'), 16) == "xxxxxx...xxxxxx");
  CHECK(cut("a\n\x1b[2J\x7f", 16) == "a??[2J?");
  std::string many;
  for (int i = 0; i < 100; ++i) many += "\xE2\x82\xAC";  // €
  for (std::size_t most = 16; most < 40; ++most) {
    std::string const short_text = cut(many, most);
    CHECK(short_text.size() <= most);
    CHECK(diloco::detail::is_utf8(short_text));
  }
  char small[5] = {'#', '#', '#', '#', '#'};
  CHECK(write_pieces(std::span(small, 4), {"ab", 12345}) == 4);
  CHECK(std::string_view(small, 5) == "ab12#");
}
