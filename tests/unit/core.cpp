// SPDX-License-Identifier: Apache-2.0
// core/error.hpp and core/field.hpp: results, exceptions, ranges, and the error messages made from a policy's
// list of numbers.
#include <diloco/core/error.hpp>
#include <diloco/core/field.hpp>
#include <diloco/exchange/exchange.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/nesterov.hpp>
#include <diloco/schedule/every.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <memory>

using namespace diloco;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
error const sample{cause::timeout, 3, 17, "diloco: sample: too late"};

result<std::unique_ptr<int>> give(bool fine) {
  if (!fine) return sample;
  return std::make_unique<int>(7);
}

}  // namespace

TEST_CASE("result: a value") {
  auto r = give(true);
  REQUIRE(r.has_value());
  CHECK(static_cast<bool>(r));
  CHECK(**r == 7);
  CHECK(*r.value() == 7);
  std::unique_ptr<int> taken = std::move(r).value();
  CHECK(*taken == 7);
  CHECK(give(true)->get() != nullptr);
}

TEST_CASE("result: an error keeps all it was told, and value() throws it") {
  auto r = give(false);
  REQUIRE_FALSE(r.has_value());
  CHECK(r.error().what == cause::timeout);
  CHECK(r.error().rank == 3);
  CHECK(r.error().round == 17);
  CHECK(r.error().message == "diloco: sample: too late");
  CHECK_THROWS_WITH_AS(r.value(), "diloco: sample: too late", exception);
  try {
    std::move(r).value();
  } catch (exception const& e) {
    CHECK(e.details().what == cause::timeout);
    CHECK(e.details().rank == 3);
    CHECK(e.details().round == 17);
    CHECK(std::string(e.what()) == e.details().message);
  }
}

TEST_CASE("result: of nothing") {
  result<> fine;
  CHECK(fine.has_value());
  CHECK_NOTHROW(fine.value());
  result<> bad = sample;
  CHECK_FALSE(bad);
  CHECK_THROWS_AS(bad.value(), std::runtime_error);
  CHECK_THROWS_AS(raise(sample), exception);
}

TEST_CASE("range: ends are in unless open, and NaN and Inf are never in") {
  CHECK(non_negative.holds(0));
  CHECK(non_negative.holds(unbounded));
  CHECK_FALSE(non_negative.holds(-1e-30));
  CHECK_FALSE(positive.holds(0));
  CHECK(positive.holds(1e-30));
  CHECK(below_one.holds(0));
  CHECK(below_one.holds(0.999999));
  CHECK_FALSE(below_one.holds(1));
  CHECK(zero_to_one.holds(1));
  CHECK_FALSE(zero_to_one.holds(1.0000001));
  for (range const r : {non_negative, positive, below_one, zero_to_one}) {
    CHECK_FALSE(r.holds(not_a_number));
    CHECK_FALSE(r.holds(-not_a_number));
    CHECK_FALSE(r.holds(infinity));
    CHECK_FALSE(r.holds(-infinity));
  }
}

TEST_CASE("range: says what it wants") {
  CHECK(range_text(non_negative) == "must be a number not below 0");
  CHECK(range_text(positive) == "must be a number above 0");
  CHECK(range_text(below_one) == "must be in [0, 1)");
  CHECK(range_text(zero_to_one) == "must be in [0, 1]");
  CHECK(range_text({0, 1, true, false}) == "must be in (0, 1]");
  CHECK(range_text({1, unbounded}) == "must be a number not below 1");
}

TEST_CASE("numbers in sentences are short") {
  CHECK(say({0.7f}) == "0.7");
  CHECK(say({"H = ", 500L, ", eps = ", 1e-8}) == "H = 500, eps = 1e-08");
  CHECK(say({not_a_number, " ", -infinity}) == "nan -inf");
  CHECK(say({-1, " ", ~std::uint64_t{0}}) == "-1 18446744073709551615");
  CHECK(say({std::string("a"), std::string_view("b"), "c", ""}) == "abc");
  CHECK(say({}).empty());
  CHECK(three_digits(4.125) == "4.12");
}

TEST_CASE("the first field outside its range is named") {
  CHECK(field_error("inner", adamw{}).empty());
  CHECK(field_error("inner", adamw{.lr = -1e-3f}) ==
        "diloco: inner adamw: lr = -0.001 must be a number not below 0");
  CHECK(field_error("inner", adamw{.beta1 = 1}) == "diloco: inner adamw: beta1 = 1 must be in [0, 1)");
  CHECK(field_error("inner", adamw{.beta2 = 1.5f}) == "diloco: inner adamw: beta2 = 1.5 must be in [0, 1)");
  CHECK(field_error("inner", adamw{.eps = 0}) == "diloco: inner adamw: eps = 0 must be a number above 0");
  CHECK(field_error("inner", adamw{.beta1 = -2, .eps = 0}) ==
        "diloco: inner adamw: beta1 = -2 must be in [0, 1)");
  CHECK(field_error("outer", nesterov{.lr = static_cast<float>(not_a_number)}) ==
        "diloco: outer nesterov: lr = nan must be a number not below 0");
  CHECK(field_error("outer", nesterov{.lr = static_cast<float>(infinity)}) ==
        "diloco: outer nesterov: lr = inf must be a number not below 0");
  CHECK(field_error("schedule", every(0)) ==
        "diloco: schedule every: inner_steps = 0 must be a number not below 1");
}

TEST_CASE("a policy prints its numbers and is fingerprinted by them") {
  CHECK(field_text(nesterov{.lr = 0.7f, .momentum = 0.9f}) == "lr=0.7 momentum=0.9");
  CHECK(field_text(gather{}).empty());
  CHECK(field_text(manual{}) == "fragments=1 cut=0");
  CHECK(fingerprint(nesterov{}) == fingerprint(nesterov{.lr = 0.7f}));
  CHECK(fingerprint(nesterov{}) != fingerprint(nesterov{.lr = 0.70000005f}));
  CHECK(fingerprint(nesterov{.lr = 0.9f, .momentum = 0.7f}) !=
        fingerprint(nesterov{.lr = 0.7f, .momentum = 0.9f}));
  CHECK(fingerprint(every(10)) != fingerprint(every(11)));
  CHECK(fingerprint(manual{}) != fingerprint(every()));
}
