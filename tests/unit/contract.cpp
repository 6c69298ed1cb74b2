// SPDX-License-Identifier: Apache-2.0
// Three workers, one of which differs in one thing. Before round 0, every rank gets the same error message
// with the field, both ranks and both values. No rank waits for another.
#include "support/pattern.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <new>
#include <thread>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

using namespace diloco;

namespace {

template <class C = absmax<4>, class Exchange = gather, class Feedback = error_feedback, class Inner = adamw,
          class Outer = nesterov>
using trainer = DiLoCo<Inner, Outer, C, threads, Feedback, weighted_mean, Exchange, every, cpp, silent>;

using usual = trainer<>;

/// Makes `usual` on all ranks but one. There it makes the result of `make_odd(transport)`.
template <class MakeOdd>
std::vector<toy::outcome> with_odd_rank(int odd, MakeOdd&& make_odd) {
  return toy::on_each_rank(3, [&](threads transport) {
    if (transport.rank() == odd) return make_odd(std::move(transport));
    toy::model m({5, 300});
    return toy::outcome_of(usual::make({.transport = std::move(transport)}, m.parameters()));
  });
}

/// The odd rank gets a trainer of the same type, with `change(recipe, model)` applied.
template <class Change>
std::vector<toy::outcome> with_change(int odd, Change&& change) {
  return with_odd_rank(odd, [&](threads transport) {
    toy::model m({5, 300});
    usual::recipe_type r{.transport = std::move(transport)};
    change(r, m);
    return toy::outcome_of(usual::make(std::move(r), m.parameters()));
  });
}

/// The odd rank gets a trainer of another type.
template <class Other>
std::vector<toy::outcome> with_type(int odd) {
  return with_odd_rank(odd, [&](threads transport) {
    toy::model m({5, 300});
    return toy::outcome_of(Other::make({.transport = std::move(transport)}, m.parameters()));
  });
}

/// Every rank has the same error message. It names the field, both ranks and both values.
void check(std::vector<toy::outcome> const& seen, int odd, std::string const& field,
           std::string const& usual_value, std::string const& odd_value) {
  // Rank 0 is the reference. If it is the odd one, rank 1 is the first to differ from it.
  std::string const named = std::to_string(odd == 0 ? 1 : odd);
  for (int rank = 0; rank < 3; ++rank) {
    toy::outcome const& o = seen[static_cast<std::size_t>(rank)];
    REQUIRE(o);
    CHECK(o->message == "diloco: contract: rank " + named + " and rank 0 disagree on the " + field +
                            "; rank " + named + " has " + (odd == 0 ? usual_value : odd_value) +
                            " and rank 0 has " + (odd == 0 ? odd_value : usual_value) +
                            "; give all ranks the same");
    CHECK(o->what == cause::disagreement);
    CHECK(o->rank == rank);
  }
}

/// The odd rank has its own error, and all others get it at once. Waiting for the deadline would take 300 s.
void check_refusal(std::vector<toy::outcome> const& seen, int odd, std::string const& sentence, cause what) {
  for (int rank = 0; rank < 3; ++rank) {
    toy::outcome const& o = seen[static_cast<std::size_t>(rank)];
    REQUIRE(o);
    CHECK(o->rank == rank);
    CHECK(o->what == (rank == odd ? what : cause::peer_lost));
    CHECK(o->message == (rank == odd ? sentence : say({"diloco: rank ", odd, " refused: ", sentence})));
  }
}

/// A policy without a list of numbers. Its bytes are compared.
struct unlisted {
  pattern which = pattern::gather;
  std::uint32_t other = 7;
  static constexpr std::string_view name = "unlisted";
  static constexpr same_compressor second{};
  [[nodiscard]] leg_list legs(int ranks) const { return legs_of(which, ranks); }
};

}  // namespace

TEST_CASE("contract: equal ranks agree") {
  for (auto const& o : with_change(1, [](auto&, auto&) {})) CHECK(toy::sentence(o) == "no error");
}

TEST_CASE("contract: the number that differs is named, of every role and of the recipe") {
  for (int const odd : {0, 1, 2}) {
    check(with_change(odd, [](auto& r, auto&) { r.inner.lr = 2e-3f; }), odd, "inner optimizer's lr", "0.001",
          "0.002");
  }
  check(with_change(1, [](auto& r, auto&) { r.outer.lr = 0.6f; }), 1, "outer optimizer's lr", "0.7", "0.6");
  check(with_change(2, [](auto& r, auto&) { r.outer.momentum = 0.8f; }), 2, "outer optimizer's momentum",
        "0.9", "0.8");
  check(with_change(2, [](auto& r, auto&) { r.feedback.decay = 0.5f; }), 2, "feedback's decay", "1", "0.5");
  check(with_change(1, [](auto& r, auto&) { r.schedule = every(20); }), 1, "schedule's inner_steps", "500",
        "20");
  check(with_change(1, [](auto& r, auto&) { r.clip_norm = 2.5f; }), 1, "clip_norm", "3.4028235e+38", "2.5");
  check(with_change(1, [](auto& r, auto&) { r.inner_at_sync = at_sync::reset; }), 1, "inner_at_sync", "keep",
        "reset");
  check(with_change(1, [](auto& r, auto&) { r.bf16_rounding = rounding::stochastic; }), 1, "bf16_rounding",
        "nearest", "stochastic");
  check(with_change(1, [](auto& r, auto&) { r.seed = 4000000001; }), 1, "seed", "0", "4000000001");
}

TEST_CASE("contract: neighbours of a number print differently") {
  check(with_change(1, [](auto& r, auto&) { r.outer.lr = std::nextafter(0.7f, 1.0f); }), 1,
        "outer optimizer's lr", "0.7", "0.70000005");
  check(with_change(2, [](auto& r, auto&) { r.outer.momentum = std::nextafter(0.9f, 0.0f); }), 2,
        "outer optimizer's momentum", "0.9", "0.8999999");
  check(with_change(1, [](auto& r, auto&) { r.inner.eps = std::nextafter(1e-8f, 1.0f); }), 1,
        "inner optimizer's eps", "1e-08", "1.0000001e-08");
  auto const seeds = [](auto compressor) {
    using C = decltype(compressor);
    return toy::on_each_rank(3, [&](threads transport) {
      toy::model m({300});
      typename trainer<C>::recipe_type r{.transport = std::move(transport)};
      r.compressor.seed =
          static_cast<decltype(r.compressor.seed)>(r.transport.rank() == 1 ? 4000000003 : 4000000001);
      return toy::outcome_of(trainer<C>::make(std::move(r), m.parameters()));
    });
  };
  check(seeds(qsgd<4, 256>{}), 1, "compressor's seed", "4000000001", "4000000003");
  check(seeds(random_k<64>{}), 1, "compressor's seed", "4000000001", "4000000003");
}

TEST_CASE("contract: a field beyond the first 32, and policies without a list") {
  auto const seven = [](adamw last) {
    return groups(group{named("t0"), adamw{}}, group{named("t1"), adamw{}}, group{named("t2"), adamw{}},
                  group{named("t3"), adamw{}}, group{named("t4"), adamw{}}, group{named("t5"), adamw{}},
                  group{the_rest, last});
  };
  using grouped = trainer<absmax<4>, gather, error_feedback, decltype(seven({}))>;
  auto const of_groups = toy::on_each_rank(3, [&](threads transport) {
    float const decay = transport.rank() == 2 ? 0.25f : 0.01f;
    toy::model m({1, 1, 1, 1, 1, 1, 1});
    return toy::outcome_of(grouped::make(
        {.inner = seven({.weight_decay = decay}), .transport = std::move(transport)}, m.parameters()));
  });
  check(of_groups, 2, "inner optimizer's adamw[6].weight_decay", "0.01", "0.25");
  auto const plain = toy::on_each_rank(3, [&](threads transport) {
    toy::model m({5, 300});
    unlisted const x{pattern::gather, transport.rank() == 1 ? 9u : 7u};
    return toy::outcome_of(trainer<absmax<4>, unlisted>::make(
        {.exchange = x, .transport = std::move(transport)}, m.parameters()));
  });
  check(plain, 1, "exchange's bytes", "0 0 0 0 7 0 0 0", "0 0 0 0 9 0 0 0");
}

TEST_CASE("contract: other policies altogether") {
  check(with_type<trainer<absmax<8>>>(1), 1, "compressor", "absmax4/256", "absmax8/256");
  check(with_type<trainer<absmax<4, 128>>>(2), 2, "compressor", "absmax4/256", "absmax4/128");
  check(with_type<trainer<absmax<4>, scatter_gather>>(1), 1, "exchange", "gather", "scatter_gather");
  check(with_type<trainer<absmax<4>, gather, no_feedback>>(0), 0, "feedback", "error_feedback",
        "no_feedback");
  check(with_type<trainer<absmax<4>, gather, error_feedback, adamw, plain_sgd>>(1), 1, "outer optimizer",
        "nesterov", "plain_sgd");
}

TEST_CASE("contract: number, names and shapes of the tensors") {
  check(with_change(2, [](auto&, toy::model& m) { m.parameters()[1].shape = {299}; }), 2, "tensors",
        "2 tensors of 305 elements in all", "2 tensors of 304 elements in all");
  check(with_change(2, [](auto&, toy::model& m) { m.parameters().pop_back(); }), 2, "tensors",
        "2 tensors of 305 elements in all", "1 tensors of 5 elements in all");
  std::string const second = "name, shape or group of tensor 1";
  check(with_change(1, [](auto&, toy::model& m) { m.parameters()[1].name = "other"; }), 1, second,
        "'t1' (300)", "'other' (300)");
  check(with_change(1,
                    [](auto&, toy::model& m) {
                      m.parameters()[1].shape = {3, 100};
                    }),
        1, second, "'t1' (300)", "'t1' (3, 100)");
  check(with_change(1, [](auto&, toy::model& m) { std::swap(m.parameters()[0], m.parameters()[1]); }), 1,
        "name, shape or group of tensor 0", "'t0' (5)", "'t1' (300)");
}

TEST_CASE("contract: a name of any length keeps both of its ends") {
  std::string const name = "\xC3\xA9" + std::string(5000, 'x') + "\x1b[2J";
  std::string const shown =
      "'\xC3\xA9" + std::string(187, 'x') + "..." + std::string(179, 'x') + "?[2J' (300)";
  check(with_change(1, [&](auto&, toy::model& m) { m.parameters()[1].name = name; }), 1,
        "name, shape or group of tensor 1", "'t1' (300)", shown);
}

TEST_CASE("contract: one bit of the initial parameters") {
  auto const seen =
      with_change(1, [](auto&, toy::model& m) { m[1][299] = float_of(bits_of(m[1][299]) ^ 1u); });
  for (toy::outcome const& o : seen) {
    REQUIRE(o);
    std::string const start =
        "diloco: contract: rank 1 and rank 0 disagree on the initial values of 't1'; rank 1 has values with "
        "the "
        "digest ";
    CHECK(o->message.substr(0, start.size()) == start);
    CHECK(o->message == seen[0]->message);
    CHECK(o->what == cause::disagreement);
  }
}

TEST_CASE("contract: of several differences the first in the list is named") {
  auto const seen = with_change(2, [](auto& r, toy::model& m) {
    r.schedule = every(3);
    r.outer.lr = 0.25f;
    m[0][0] += 1;
  });
  check(seen, 2, "outer optimizer's lr", "0.7", "0.25");
}

TEST_CASE("contract: levels of checks, which change the exchanges") {
  contract_term const mine = build_term(0);
  REQUIRE(mine.fields.size() == 6);
  CHECK(mine.fields[0].value == "0.1.0");
  CHECK(mine.fields[1].label == "check level DILOCO_CHECKS");
  CHECK(mine.fields[1].value == std::to_string(DILOCO_CHECKS));
}

TEST_CASE("contract: what one rank refuses, all others hear at once") {
  float const nan = std::numeric_limits<float>::quiet_NaN();
  for (int const odd : {0, 1, 2}) {
    check_refusal(with_change(odd, [](auto& r, auto&) { r.schedule = every(0); }), odd,
                  "diloco: schedule every: inner_steps = 0 must be a number not below 1", cause::bad_setting);
    check_refusal(with_change(odd, [&](auto&, toy::model& m) { m[1][7] = nan; }), odd,
                  "diloco: the parameter 't1' holds a value that is not finite", cause::not_finite);
  }
  check_refusal(with_change(1, [](auto& r, auto&) { r.deadline_seconds = -1; }), 1,
                "diloco: deadline_seconds = -1 must be in (0, 1e9)", cause::bad_setting);
  check_refusal(with_change(1, [](auto& r, auto&) { r.clip_norm = 0; }), 1,
                "diloco: clip_norm = 0 must be a number above 0", cause::bad_setting);
  check_refusal(with_change(1, [](auto&, toy::model& m) { m.parameters()[1].name = "t0"; }), 1,
                "diloco: parameters: the name 't0' is given twice", cause::bad_layout);
  check_refusal(with_change(2, [](auto&, toy::model& m) { m.parameters().clear(); }), 2,
                "diloco: parameters: the list of tensors is empty", cause::bad_layout);
}

TEST_CASE("contract: a refusal comes before any difference, and of two the first rank's is heard") {
  auto const seen = toy::on_each_rank(3, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({5, 300});
    usual::recipe_type r{.transport = std::move(transport)};
    if (rank == 0) r.outer.lr = 0.1f;
    if (rank != 0) r.schedule = every(-rank);
    return toy::outcome_of(usual::make(std::move(r), m.parameters()));
  });
  CHECK(toy::sentence(seen[0]) ==
        "diloco: rank 1 refused: diloco: schedule every: inner_steps = -1 must be a number not below 1");
  CHECK(toy::sentence(seen[1]) == "diloco: schedule every: inner_steps = -1 must be a number not below 1");
  CHECK(toy::sentence(seen[2]) == "diloco: schedule every: inner_steps = -2 must be a number not below 1");
}

namespace {
/// cpp with no memory left at the n-th request.
struct exhausted : cpp {
  int* left = nullptr;
  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    if (--*left == 0) throw std::bad_alloc();
    return cpp::allocate(bytes);
  }
  [[nodiscard]] buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }
};
}  // namespace

TEST_CASE("contract: a rank whose memory runs out while it is constructed says so") {
  using T = DiLoCo<adamw, nesterov, absmax<4>, threads, error_feedback, weighted_mean, scatter_gather, every,
                   exhausted>;
  int last = 0;
  for (int at = 1; last == 0 && at < 100; ++at) {
    auto const seen = toy::on_each_rank(3, [&](threads transport) {
      bool const odd = transport.rank() == 1;
      toy::model m({5, 300});
      int left = odd ? at : 1 << 20;
      typename T::recipe_type r{.transport = std::move(transport)};
      r.executor.left = &left;
      try {
        return toy::sentence(toy::outcome_of(T::make(std::move(r), m.parameters())));
      } catch (std::bad_alloc const&) {
        return std::string("threw");
      }
    });
    CAPTURE(at);
    if (seen[1] != "threw") {
      CHECK(seen[0] == "no error");
      last = at;
    } else if (seen[0] !=
               "diloco: threads: round 0: rank 1 left before its part of the exchange") {  // in the contract
      CHECK(seen[0] == "diloco: rank 1 refused: its construction threw: std::bad_alloc");
      CHECK(seen[2] == seen[0]);
    }
  }
  CHECK(last > 12);  // two of them in the contract
}

#if defined(__SSE__)
namespace {
/// Trains over K threads. Rank `odd` (every rank if −1) first sets `bits` of MXCSR.
template <class Executor = cpp>
std::vector<std::string> with_mxcsr(unsigned bits, int odd) {
  return toy::on_each_rank(2, [&](threads transport) {
    unsigned const before = _mm_getcsr();
    if (odd < 0 || transport.rank() == odd) _mm_setcsr(before | bits);
    toy::model m({300});
    using T =
        DiLoCo<plain_sgd, nesterov, f32, threads, error_feedback, weighted_mean, gather, every, Executor>;
    auto said = toy::sentence(toy::outcome_of(T::make({.transport = std::move(transport)}, m.parameters())));
    _mm_setcsr(before);
    return said;
  });
}
}  // namespace

TEST_CASE("contract: modes of the floating-point unit") {
  struct mode {
    unsigned bits;
    std::string field, usual, odd;
  };
  for (mode const& is : {mode{0x8000, "subnormal results (FTZ)", "kept", "flushed to zero"},
                         mode{0x0040, "subnormal operands (DAZ)", "kept", "taken for zero"},
                         mode{0x2000, "rounding mode (fesetround)", "to nearest", "downward"},
                         mode{0x4000, "rounding mode (fesetround)", "to nearest", "upward"},
                         mode{0x6000, "rounding mode (fesetround)", "to nearest", "toward zero"}}) {
    CAPTURE(is.bits);
    for (int const odd : {0, 1}) {
      for (std::string const& said : with_mxcsr(is.bits, odd)) {
        CHECK(said == "diloco: contract: rank 1 and rank 0 disagree on the " + is.field + "; rank 1 has " +
                          (odd == 1 ? is.odd : is.usual) + " and rank 0 has " +
                          (odd == 0 ? is.odd : is.usual) + "; give all ranks the same");
      }
    }
    for (std::string const& said : with_mxcsr(is.bits, -1)) CHECK(said == "no error");
  }
  for (std::string const& said : with_mxcsr(0, 0)) CHECK(said == "no error");
}

namespace {
/// Runs kernels in a separate thread, which flushes subnormals.
struct flushing_thread : cpp {
  static constexpr std::string_view name = "flushing_thread";
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    std::thread([&] {
      _mm_setcsr(_mm_getcsr() | 0x8040);
      cpp::for_each(n, kernel);
    }).join();
  }
};
}  // namespace

TEST_CASE("contract: an executor whose threads have other modes is refused") {
  for (std::string const& said : with_mxcsr<flushing_thread>(0, 0)) {
    CHECK(said ==
          "diloco: executor flushing_thread: its threads round or flush subnormal numbers otherwise than the "
          "thread "
          "that constructs the trainer; set the mode before the first thread of the pool starts");
  }
}
#endif

TEST_CASE("contract: sums that the compiler reorders are refused") {
  CHECK(float_modes_seen{reassociates_sums, reassociates_sums, true}.validation_error("cpp") ==
        "diloco: the compiler reorders sums here, and bits would depend on it; compile without "
        "-fassociative-math");
  CHECK(float_modes_here() == 0);
}

TEST_CASE("contract: what nobody can explain is said, too") {
  alone nobody;
  contract_term const term = term_of("schedule", list_policy(every(7)));
  cpp const executor;
  backend_on<cpp> const where(executor);
  transport_link_over<alone, cpp> const over(nobody, executor, where);
  auto const none = detail::differing_field(over, term, deadline_after(9));
  REQUIRE_FALSE(none);
  CHECK(none.error().message == "diloco: contract: ranks disagree on the schedule; give all ranks the same");
  gathered const silent{
      std::vector<std::byte>(2 * sizeof(detail::contract_text)), {0, 1}, sizeof(detail::contract_text)};
  CHECK(detail::refusal_of(silent, 1).message ==
        "diloco: a rank refused and did not say why; look at its own error");
  // Field lists of different lengths under one name. The message names the policy and what each rank has
  // there.
  gathered two = silent;
  detail::contract_text const first("", "nothing more"), second("schedule's period", "3");
  std::memcpy(two.bytes.data(), &first, sizeof first);
  std::memcpy(two.bytes.data() + sizeof first, &second, sizeof second);
  CHECK(detail::disagreement_of(two, 1, 0, "schedule").message ==
        "diloco: contract: rank 1 and rank 0 disagree on the schedule; rank 1 has schedule's period 3 and "
        "rank 0 has "
        "nothing more; give all ranks the same");
}
