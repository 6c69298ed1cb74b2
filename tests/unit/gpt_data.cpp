// SPDX-License-Identifier: Apache-2.0
// Which worker sees which part of the text, and how the example refuses unusable text.
#include "data.hpp"
#include "options.hpp"
#include "sample.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <set>

namespace {

namespace fs = std::filesystem;

gpt::bytes counting_text(std::size_t n) {
  gpt::bytes text(n);
  for (std::size_t i = 0; i < n; ++i) text[i] = static_cast<std::uint8_t>(1 + i % 250);
  return text;
}

// How many parts hold each byte of the text.
std::vector<int> owners(gpt::bytes const& text, gpt::split const& parts) {
  std::vector<int> count(text.size());
  auto const take = [&](gpt::chunk piece) {
    for (std::uint8_t const& byte : piece) ++count[static_cast<std::size_t>(&byte - text.data())];
  };
  for (gpt::chunk const& piece : parts.validation) take(piece);
  for (auto const& shard : parts.shards)
    for (gpt::chunk const& piece : shard) take(piece);
  return count;
}

struct temporary_directory {
  fs::path path = fs::temp_directory_path() /
                  ("diloco_gpt_data." + std::to_string(reinterpret_cast<std::uintptr_t>(this)));
  temporary_directory() { fs::create_directories(path / "inner"); }
  ~temporary_directory() { fs::remove_all(path); }
  void write(char const* name, std::string const& content) const {
    std::ofstream(path / name, std::ios::binary) << content;
  }
};

template <class Function>
std::string validation_error(Function&& f) {
  try {
    f();
  } catch (gpt::bad_input const& error) {
    return error.what();
  }
  return "no error";
}

bool mentions(std::string const& sentence, std::string const& culprit) {
  return sentence.find(culprit) != std::string::npos;
}

std::string parse_error(std::vector<std::string> flags) {
  flags.insert(flags.begin(), "diloco_gpt");
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  gpt::options o;
  return validation_error([&] { gpt::parse(static_cast<int>(argv.size()), argv.data(), o); });
}

}  // namespace

TEST_CASE("every byte belongs to the validation text or to exactly one worker") {
  for (int workers : {1, 2, 4, 7, 10}) {
    for (std::size_t size : {10'000u, 163'840u, 1'000'003u}) {
      CAPTURE(workers);
      CAPTURE(size);
      gpt::bytes const text = counting_text(size);
      gpt::split const parts = gpt::split_text(text, "text", workers, 32);
      for (int n : owners(text, parts)) REQUIRE(n == 1);
      CHECK(parts.shards.size() == static_cast<std::size_t>(workers));
      for (auto const& shard : parts.shards) CHECK(!shard.empty());
      std::size_t held_out = 0;
      for (gpt::chunk const& piece : parts.validation) held_out += piece.size();
      CHECK(held_out >= size / 20);
      CHECK(held_out <= size / 5);
    }
  }
}

TEST_CASE("the same text is always split the same way") {
  gpt::bytes const text = counting_text(300'000);
  gpt::split const a = gpt::split_text(text, "text", 3, 64), b = gpt::split_text(text, "text", 3, 64);
  REQUIRE(a.validation.size() == b.validation.size());
  for (std::size_t i = 0; i < a.validation.size(); ++i)
    CHECK(a.validation[i].data() == b.validation[i].data());
}

TEST_CASE("the shortest text that is accepted gives every worker one window, and one byte less is refused") {
  // two of ten chunks are held out, so twenty chunks of 17 bytes remain
  int const context = 16, workers = 12;
  gpt::bytes const enough = counting_text(20 * 17), short_of_one = counting_text(20 * 17 - 1);
  gpt::split const parts = gpt::split_text(enough, "text", workers, context);
  for (auto const& shard : parts.shards)
    for (gpt::chunk const& piece : shard) CHECK(piece.size() > static_cast<std::size_t>(context));
  CHECK(validation_error([&] { gpt::split_text(short_of_one, "some.txt", workers, context); }) ==
        "--data some.txt: holds 339 bytes, but 12 workers with a context of 16 need at least 340");
}

TEST_CASE(
    "a batch holds windows of the worker's own shard, targets one byte ahead, the same for the same key") {
  gpt::bytes const text = counting_text(200'000);
  gpt::split const parts = gpt::split_text(text, "text", 4, 32);
  gpt::batch a(8, 32), b(8, 32), other(8, 32);
  gpt::draw(a, parts.shards[1], 32, gpt::random_stream(1, 2, 3));
  gpt::draw(b, parts.shards[1], 32, gpt::random_stream(1, 2, 3));
  gpt::draw(other, parts.shards[1], 32, gpt::random_stream(1, 2, 4));
  CHECK(a.tokens == b.tokens);
  CHECK(a.tokens != other.tokens);
  for (std::size_t i = 0; i < a.tokens.size(); ++i) CHECK(a.targets[i] == 1 + a.tokens[i] % 250);
  for (std::size_t row = 0; row < a.tokens.size(); row += 32) {
    bool found = false;
    for (gpt::chunk const& piece : parts.shards[1]) {
      found = found ||
              std::search(piece.begin(), piece.end(), a.tokens.begin() + static_cast<std::ptrdiff_t>(row),
                          a.tokens.begin() + static_cast<std::ptrdiff_t>(row) + 32) != piece.end();
    }
    CHECK(found);
  }
}

TEST_CASE("validation windows do not overlap and lie in the held-out text") {
  gpt::bytes const text = counting_text(400'000);
  gpt::split const parts = gpt::split_text(text, "text", 2, 64);
  auto const windows = gpt::validation_windows(parts.validation, 64, 100);
  REQUIRE(windows.size() == 100);
  std::set<std::uint8_t const*> seen;
  for (gpt::chunk const& window : windows) {
    CHECK(window.size() == 65);
    for (std::uint8_t const& byte : window.first(64)) CHECK(seen.insert(&byte).second);
    bool inside = false;
    for (gpt::chunk const& piece : parts.validation)
      inside = inside || (window.data() >= piece.data() && window.data() + 65 <= piece.data() + piece.size());
    CHECK(inside);
  }
  CHECK(gpt::validation_windows(parts.validation, 64, 1'000'000).size() < 1000);
}

TEST_CASE("a directory is read file by file in the order of names, without binaries") {
  temporary_directory const here;
  here.write("b.txt", "second ");
  here.write("a.txt", "first ");
  here.write("inner/c.txt", "third");
  here.write("binary", std::string("no\0text", 7));
  gpt::corpus const all = gpt::load_corpus(here.path);
  CHECK(std::string(all.text.begin(), all.text.end()) == "first second third");
  CHECK(all.files == 3);
  CHECK(mentions(all.remark, "1 binary"));
  gpt::corpus const some = gpt::load_corpus(here.path, 10);
  CHECK(std::string(some.text.begin(), some.text.end()) == "first ");
  CHECK(mentions(some.remark, "left out beyond"));
}

TEST_CASE("text that cannot be read is refused with a sentence that names it") {
  temporary_directory const here;
  here.write("empty.txt", "");
  std::string const folder = here.path.string();
  CHECK(validation_error([&] { gpt::load_corpus(folder + "/none"); }) ==
        "--data " + folder + "/none: no such file or directory");
  CHECK(validation_error([&] { gpt::load_corpus(folder + "/empty.txt"); }) ==
        "--data " + folder + "/empty.txt: is empty");
  CHECK(validation_error([&] { gpt::load_corpus(folder + "/inner"); }) ==
        "--data " + folder + "/inner: holds no text file");
  CHECK(mentions(validation_error([&] { gpt::load_corpus("/dev/null"); }),
                 "--data /dev/null: is neither a file nor a directory"));
}

TEST_CASE("flags that cannot be meant are refused with a sentence that names them") {
  CHECK(parse_error({"--data", "x"}) == "no error");
  CHECK(mentions(parse_error({"--no-such-flag"}), "--no-such-flag"));
  CHECK(mentions(parse_error({"--steps", "many"}), "--steps"));
  CHECK(mentions(parse_error({"--steps"}), "--steps"));
  CHECK(parse_error({"--workers", "0"}) == "--workers 0: must be in [1, 256]");
  CHECK(parse_error({"--every", "0"}) == "--every 0: must be in [1, 1000000]");
  CHECK(parse_error({"--final-lr", "nan"}) == "--final-lr nan: must be in [0, 1]");
  CHECK(mentions(parse_error({"--inner-lr", "nan"}), "inner adamw: lr = nan"));
  CHECK(mentions(parse_error({"--inner-lr", "-1"}), "inner adamw: lr = -1"));
  CHECK(mentions(parse_error({"--outer-momentum", "1"}), "outer nesterov: momentum = 1"));
  CHECK(parse_error({"--clip", "0"}) == "--clip 0: must be a number above 0");
  CHECK(mentions(parse_error({"--compressor", "zip"}), "--compressor zip: is none of f32, "));
  CHECK(mentions(parse_error({"--exchange", "mail"}), "--exchange mail: is none of automatic, "));
  CHECK(mentions(parse_error({"--transport", "pigeon"}), "--transport pigeon: is none of threads, mpi"));
  CHECK(parse_error({"--device", "tpu"}) == "--device tpu: is none of cpu, cuda");
  CHECK(mentions(parse_error({"--device", "cuda", "--executor", "omp"}),
                 "--executor omp: with --device cuda "));
  CHECK(parse_error({"--width", "100", "--heads", "3"}) == "--width 100: is not a multiple of --heads 3");
}

TEST_CASE("a byte is drawn from the distribution, and low temperature picks the likeliest") {
  std::vector<float> p(256, 0.0f);
  p['a'] = 0.25f;
  p['b'] = 0.75f;
  gpt::random_stream random(3);
  int b = 0;
  for (int i = 0; i < 4000; ++i) {
    std::uint8_t const drawn = gpt::draw_byte(p, 1.0, random);
    REQUIRE((drawn == 'a' || drawn == 'b'));
    b += drawn == 'b';
  }
  CHECK(b > 2890);  // 3000 − 4 standard deviations of 27
  CHECK(b < 3110);
  for (int i = 0; i < 100; ++i) CHECK(gpt::draw_byte(p, 0.01, random) == 'b');
  CHECK(gpt::printable("a\x1b[2J\n\xff") == "a?[2J\n?");
}
