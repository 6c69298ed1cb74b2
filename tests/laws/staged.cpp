// SPDX-License-Identifier: Apache-2.0
// Runs every law on every staged compressor, alone and inside a round.
#include "staged.hpp"

#include <algorithm>
#include <random>

namespace {

using namespace laws;

using top64 = top_k<64>;
using top128 = top_k<128>;
using top64_f16 = top_k<64, kept_as::f16>;
using cosine32 = dct_top_k<32>;
using cosine_coded = dct_top_k<32, kept_as::two_bits>;
using top_small = top_k<5, kept_as::two_bits, 256>;
using random64 = random_k<64>;
using symmetric4 = statistical<4, buckets::symmetric>;
using common4 = low_rank<4, factors::common>;

std::vector<std::vector<std::size_t>> const shapes{
    {1}, {2}, {64}, {255}, {256}, {257}, {4095}, {4096}, {4097}, {100, 90}, {64, 1, 5}, {3, 20000}, {20001}};

/// The digest of the payload of a fixed input. The wire format must never change by accident.
template <class C>
inline constexpr std::uint64_t pinned = 0;
template <>
inline constexpr std::uint64_t pinned<top64> = 2793917102337825678ull;
template <>
inline constexpr std::uint64_t pinned<top128> = 7719664141476447373ull;
template <>
inline constexpr std::uint64_t pinned<top64_f16> = 8195210155274875071ull;
template <>
inline constexpr std::uint64_t pinned<cosine32> = 1677602443082088792ull;
template <>
inline constexpr std::uint64_t pinned<cosine_coded> = 43868320221436188ull;
template <>
inline constexpr std::uint64_t pinned<top_small> = 16181951402031234591ull;
template <>
inline constexpr std::uint64_t pinned<random64> = 14742964608352969516ull;
template <>
inline constexpr std::uint64_t pinned<statistical<4>> = 5236396929723536718ull;
template <>
inline constexpr std::uint64_t pinned<symmetric4> = 7875986926944975015ull;
template <>
inline constexpr std::uint64_t pinned<statistical<16>> = 3354300023586733574ull;
template <>
inline constexpr std::uint64_t pinned<statistical<256>> = 18313561712786501514ull;
template <>
inline constexpr std::uint64_t pinned<low_rank<1>> = 833054457904366500ull;
template <>
inline constexpr std::uint64_t pinned<low_rank<4>> = 4385888369786355715ull;
template <>
inline constexpr std::uint64_t pinned<common4> = 4462975461512885571ull;

bool all_finite(std::vector<std::vector<float>> const& tensors) {
  for (auto const& v : tensors) {
    for (float y : v) {
      if (!std::isfinite(y)) return false;
    }
  }
  return true;
}

template <class C>
void fill(staged_wire<C>& w, int seed, float scale) {
  numbers source(static_cast<std::uint64_t>(seed));
  for (auto& v : w.values) {
    for (float& each : v) each = scale * source.bell();
  }
}

TEST_CASE_TEMPLATE_DEFINE("staged compressor laws", C, staged_laws) {
  SUBCASE("zero becomes +0") {
    staged_wire<C> w{shapes};
    for (auto& v : w.values) std::fill(v.begin(), v.end(), -0.0f);
    CHECK(w.encode() == message_header::no_row);
    for (auto const& v : w.decode()) {
      for (float y : v) REQUIRE(bits_of(y) == 0u);
    }
  }
  SUBCASE("what is decoded lies no further from x than x from 0, tensor by tensor") {
    staged_wire<C> w{shapes};
    for (float scale : {1.0f, 1e-3f, 1e-8f, std::min(2e4f, C::largest / 2)}) {
      fill(w, 3, scale / 3);
      CHECK(w.encode() == message_header::no_row);
      auto const y = w.decode();
      for (std::size_t t = 0; t < y.size(); ++t) {
        double lost = 0, all = 0;
        for (std::size_t i = 0; i < y[t].size(); ++i) {
          lost += std::pow(double(w.values[t][i]) - double(y[t][i]), 2);
          all += std::pow(double(w.values[t][i]), 2);
        }
        CAPTURE(t);
        CHECK(lost <= all * 1.0001);
      }
    }
  }
  SUBCASE("one byte layout for every compiler and backend") {
    staged_wire<C> w{shapes};
    fill(w, 4, 0.02f);
    hash64 h;
    // What ranks agree on after a round affects the bytes of the next one.
    for (std::uint64_t round = 0; round < (agrees_on_memory<C> ? 4 : 1); ++round) {
      CHECK(w.encode(round) == message_header::no_row);
      h.add(std::string_view(reinterpret_cast<char const*>(w.payload().data()), w.payload().size()));
      w.commit(round);
    }
    CHECK(h.value() == pinned<C>);
  }
  SUBCASE("any bytes decode to finite numbers, and touch only their tensor") {
    staged_wire<C> w{shapes};
    std::mt19937 bits(5);
    for (int trial = 0; trial < 50; ++trial) {
      for (std::byte& b : w.payload()) b = static_cast<std::byte>(trial == 0 ? 0xffu : bits());
      if (trial % 2 == 1) {  // a few flipped bits in an encoded message
        fill(w, trial, 0.1f);
        CHECK(w.encode() == message_header::no_row);
        for (int flips = 0; flips < 64; ++flips) {
          w.payload()[bits() % w.payload().size()] ^= static_cast<std::byte>(1u << bits() % 8);
        }
      }
      CHECK(all_finite(w.decode()));
      w.commit(0);
      CHECK(all_finite(w.decode(1)));
      w.memory = w.first_memory();
    }
  }
  SUBCASE("what is not finite is reported with its tensor") {
    for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      staged_wire<C> w{shapes};
      fill(w, 6, 1.0f);
      w.values[9][7] = bad;
      w.values[11][30000] = -bad;
      CHECK(w.encode() == 9u);
      CHECK(all_finite(w.decode()));
    }
  }
  SUBCASE("in a round every element moves by what was decoded, and the residual is the rest, bit for bit") {
    for (std::vector<std::size_t> const& shape :
         {std::vector<std::size_t>{1}, {256}, {4096}, {4097}, {20000}, {50, 100}}) {
      // A one-stage and a many-stage compressor run on all executors. The sweeps are the same for the others.
      auto const on_executors = [](auto&& f) {
        if constexpr (std::is_same_v<C, top64> || std::is_same_v<C, low_rank<1>>)
          laws::on_each_executor(f);
        else
          f(laws::main_executor{});
      };
      on_executors([&](auto executor) {
        staged_wire<C> w{{shape, {60, 40}}};
        fill(w, 7, 1e-2f);
        auto theta = w.values;
        for (auto& v : theta) std::fill(v.begin(), v.end(), 0.0f);
        auto before = theta;
        laws::trainer_of<external, plain_sgd, C, alone, decltype(executor)> trainer(
            {.outer = {.lr = 1.0f, .weight_decay = 0.0f}, .executor = executor},
            std::vector<tensor>{{"0", shape, theta[0].data()}, {"1", {60, 40}, theta[1].data()}});
        for (std::size_t t = 0; t < 2; ++t) {  // θ̄ = 0, so Δ = x exactly
          for (std::size_t i = 0; i < theta[t].size(); ++i) theta[t][i] = -w.values[t][i];
        }
        // Repeats once with a residual and with a memory.
        for (std::uint64_t round = 0; round < 2; ++round) {
          if (round == 0)
            trainer.after_step();
          else
            trainer.skip_step(1.0);  // nothing moved, but it counts
          trainer.sync();
          CHECK(w.encode(round) == message_header::no_row);
          auto const y = w.decode(round);
          w.commit(round);
          for (std::size_t t = 0; t < 2; ++t) {
            std::vector<float>& x = w.values[t];
            auto const e = trainer.cell(std::to_string(t), "residual");
            REQUIRE(e.size() == x.size());
            CAPTURE(x.size());
            CAPTURE(round);
            for (std::size_t i = 0; i < x.size(); ++i) {
              REQUIRE(theta[t][i] == before[t][i] - y[t][i]);
              REQUIRE(e[i] == x[i] - y[t][i]);
              x[i] = e[i];
            }
          }
          before = theta;
        }
      });
    }
  }
}
TEST_CASE_TEMPLATE_INVOKE(staged_laws, top64, top128, top64_f16, cosine32, cosine_coded, top_small, random64,
                          statistical<4>, symmetric4, statistical<16>, statistical<256>, low_rank<1>,
                          low_rank<4>, common4);

TEST_CASE_TEMPLATE_DEFINE("linear: the mean of wires decodes to the mean of what each decodes to", C,
                          adds_up) {
  static_assert(linear_wires<C> && C::code_bytes(256) % sizeof(float) == 0, "floats and nothing else");
  staged_wire<C> a{shapes}, b{shapes}, mean{shapes};
  for (std::uint64_t round = 0; round < 4; ++round) {
    fill(a, 11 + int(round), 1.0f);
    fill(b, 12 + int(round), 3.0f);
    CHECK(a.encode(round) == message_header::no_row);
    CHECK(b.encode(round) == message_header::no_row);
    auto const floats = [](staged_wire<C>& w) { return reinterpret_cast<float*>(w.payload().data()); };
    for (std::size_t i = 0; i < mean.payload().size() / sizeof(float); ++i)
      floats(mean)[i] = 0.25f * floats(a)[i] + 0.75f * floats(b)[i];
    std::vector<std::byte const*> const wires{a.slot.data(), b.slot.data()};
    std::vector<float> const shares{0.25f, 0.75f};
    auto const of_both = a.decode(round, wires, shares), of_mean = mean.decode(round);
    double apart = 0, all = 0;
    for (std::size_t t = 0; t < of_both.size(); ++t) {
      for (std::size_t i = 0; i < of_both[t].size(); ++i) {
        apart = std::max(apart, double(std::fabs(of_both[t][i] - of_mean[t][i])));
        all = std::max(all, double(std::fabs(of_both[t][i])));
      }
    }
    CHECK(apart <= 1e-6 * all);
    // The memory that ranks agree on is the same too.
    mean.commit(round);
    for (auto* w : {&a, &b}) w->commit(round, wires, shares);
    CHECK(a.memory == b.memory);
    for (std::size_t i = 0; i < a.memory.size(); ++i)
      REQUIRE(std::fabs(a.memory[i] - mean.memory[i]) < 1e-4f);
    mean.memory = a.memory;
  }
}
TEST_CASE_TEMPLATE_INVOKE(adds_up, random64, common4);

TEST_CASE("top_k keeps the largest, of equals the first, and says so in 14 bits each") {
  static_assert(wire_bits<top64> == 0.21875 && wire_bits<top128> == 0.4375);
  staged_wire<top64_f16> w{{{4096}, {1000}}};
  for (std::size_t i = 0; i < 4096; ++i) w.values[0][i] = i % 64 == 5 ? -2.0f : 1.0f / float(i + 2);
  for (std::size_t i = 0; i < 1000; ++i) w.values[1][i] = i % 3 == 0 ? 0.5f : 0.25f;
  CHECK(w.encode() == message_header::no_row);
  auto const y = w.decode();
  for (std::size_t i = 0; i < 4096; ++i) REQUIRE(y[0][i] == (i % 64 == 5 ? -2.0f : 0.0f));
  int kept = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    bool const first = i % 3 == 0 && i < 48;  // 16 of 1000, which is the share 64 of 4096 rounded up
    REQUIRE(y[1][i] == (first ? 0.5f : 0.0f));
    kept += first;
  }
  CHECK(kept == 16);
}

TEST_CASE("dct_top_k: orthonormal there and back, and a wave is one coefficient") {
  staged_wire<dct_top_k<4096>> all{{{4096}, {5000}}};
  fill(all, 3, 0.1f);
  CHECK(all.encode() == message_header::no_row);
  auto y = all.decode();
  // Every coefficient is sent as binary16. Only rounding is lost, 2⁻¹² of each.
  for (std::size_t i = 0; i < 4096; ++i) REQUIRE(std::fabs(y[0][i] - all.values[0][i]) < 2e-3f);
  staged_wire<dct_top_k<1>> wave{{{4096}}};
  for (int r = 0; r < 64; ++r) {
    for (int c = 0; c < 64; ++c) {
      wave.values[0][std::size_t(r * 64 + c)] =
          float(0.3 * std::cos(3.14159265358979 * (2 * r + 1) * 5 / 128) *
                std::cos(3.14159265358979 * (2 * c + 1) * 9 / 128));
    }
  }
  CHECK(wave.encode() == message_header::no_row);
  CHECK(detail::index_at(wave.slot.data() + sizeof(message_header) + wave.plan.slices()[0].codes, 0) ==
        5 * 64 + 9);
  y = wave.decode();
  for (std::size_t i = 0; i < 4096; ++i) REQUIRE(std::fabs(y[0][i] - wave.values[0][i]) < 3e-4f);
}

TEST_CASE("indices that do not rise, or leave the chunk, make it say nothing") {
  staged_wire<top_small> w{{{256}, {100}}};
  for (auto& v : w.values) std::fill(v.begin(), v.end(), 1.0f);
  CHECK(w.encode() == message_header::no_row);
  slice_record const& r = w.plan.slices()[0];
  auto* const index = w.slot.data() + sizeof(message_header) + r.codes;
  auto const heard = [&](std::size_t t) {
    float sum = 0;
    auto const y = w.decode();
    for (float v : y[t]) sum += v;
    return sum;
  };
  CHECK(heard(0) == 5.0f);
  std::byte const kept = index[0];
  index[0] = std::byte{1};  // 1, 1, 2, …: one index appears twice
  CHECK(heard(0) == 0.0f);
  index[0] = kept;
  CHECK(heard(0) == 5.0f);
  auto* const second = w.slot.data() + sizeof(message_header) + w.plan.slices()[1].codes;
  second[0] = std::byte{0};
  second[1] = static_cast<std::byte>(0x40);  // 0 and 100 + …: beyond the hundred elements
  second[2] = std::byte{0x10};
  CHECK(heard(1) == 0.0f);
}

TEST_CASE("random_k draws the same places on every rank, others in the next round, and adds up") {
  staged_wire<random64> a{{{5000}}}, b{{{5000}}};
  fill(a, 1, 1.0f);
  fill(b, 2, 1.0f);
  std::vector<int> drawn(5000);
  for (std::uint64_t round = 0; round < 400; ++round) {
    CHECK(a.encode(round) == message_header::no_row);
    CHECK(b.encode(round) == message_header::no_row);
    auto const y = a.decode(round), z = b.decode(round);
    int kept = 0;
    for (std::size_t i = 0; i < 5000; ++i) {
      REQUIRE((y[0][i] != 0.0f) == (z[0][i] != 0.0f));
      if (y[0][i] != 0.0f) REQUIRE(y[0][i] == a.values[0][i]);
      kept += y[0][i] != 0.0f;
      drawn[i] += y[0][i] != 0.0f;
    }
    REQUIRE(kept == 64 + 15);
  }
  // 400 rounds of 1 in 64: mean 6.25, standard deviation 2.5.
  for (int n : drawn) CHECK((n >= 0 && n <= 21));
  double first = 0, second = 0;
  for (std::size_t i = 0; i < 2048; ++i) first += drawn[i], second += drawn[i + 2048];
  CHECK(first == second);  // each run of 64 is drawn from once per round
}

TEST_CASE("random_k, unbiased: the mean over many rounds is x") {
  staged_wire<random64> w{{{4096}}, {.seed = 3, .unbiased = true}};
  for (float& v : w.values[0]) v = 1.0f;
  std::vector<double> sum(4096);
  constexpr int rounds = 2000;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    CHECK(w.encode(round) == message_header::no_row);
    auto const y = w.decode(round);
    for (std::size_t i = 0; i < 4096; ++i) sum[i] += double(y[0][i]) / rounds;
  }
  // Each mean is 64 times a binomial of 2000 rounds at 1/64: standard deviation √(63/2000) = 0.18.
  for (double mean : sum) CHECK(mean == doctest::Approx(1.0).epsilon(0.9));
}

TEST_CASE("statistical: a constant tensor is sent as it is, and an outlier spoils only its own bucket") {
  staged_wire<statistical<16>> w{{{10000}, {10000}}};
  std::fill(w.values[0].begin(), w.values[0].end(), 0.375f);
  fill(w, 8, 1.0f);
  std::fill(w.values[0].begin(), w.values[0].end(), 0.375f);
  w.values[1][17] = 1e6f;
  CHECK(w.encode() == message_header::no_row);
  auto const y = w.decode();
  for (float v : y[0]) REQUIRE(v == doctest::Approx(0.375f).epsilon(1e-6));
  CHECK(y[1][17] == doctest::Approx(1e6f).epsilon(1e-4));
}

TEST_CASE("the largest magnitudes that are accepted come out again") {
  auto const check = [](auto compressor) {
    using C = decltype(compressor);
    CAPTURE(std::string(C::name));
    staged_wire<C> w{{{5000}, {9}}};
    for (auto& v : w.values) {
      for (float& each : v) each = C::largest;
    }
    CHECK(w.encode() == message_header::no_row);
    auto const y = w.decode();
    float most = 0;
    for (auto const& v : y) {
      for (float each : v) most = std::max(most, each);
    }
    CHECK(most > 0.9f * C::largest);
    // A single magnitude for all kept values may represent smaller values of a short chunk.
    CHECK(most < 2.0f * C::largest);
  };
  check(top64{});
  check(top64_f16{});
  check(cosine32{});
  check(cosine_coded{});
  check(random64{});
  check(statistical<4>{});
  check(statistical<256>{});
  check(low_rank<2>{});
}

TEST_CASE("statistical: chunks of zeros beside others, at a mean just off zero") {
  staged_wire<symmetric4> w{{{64 * 4096}}};
  numbers source(31);
  for (std::size_t i = 0; i < 4096; ++i) w.values[0][i] = source.bell() + 1e-4f;
  CHECK(w.encode() == message_header::no_row);
  auto const y = w.decode();
  CHECK(std::fabs(y[0][64 * 4096 - 1]) < 0.01f);
}

TEST_CASE("low_rank reconstructs a matrix of its rank, and follows the leading directions of another") {
  constexpr std::size_t rows = 90, columns = 70;
  staged_wire<low_rank<2>> w{{{rows, columns}}};
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      w.values[0][i * columns + j] = 0.3f * std::sin(float(i)) * std::cos(2 * float(j)) +
                                     0.1f * std::cos(3 * float(i)) * std::sin(float(j) + 1);
    }
  }
  auto const error = [&](std::uint64_t round) {
    CHECK(w.encode(round) == message_header::no_row);
    w.memory.swap(w.next_memory);
    double lost = 0, all = 0;
    auto const y = w.decode();
    for (std::size_t e = 0; e < rows * columns; ++e) {
      lost += std::pow(double(w.values[0][e] - y[0][e]), 2);
      all += std::pow(double(w.values[0][e]), 2);
    }
    return lost / all;
  };
  CHECK(error(0) < 1e-10);
  CHECK(error(1) < 1e-12);
  numbers source(9);
  for (float& v : w.values[0]) v += 0.01f * source.bell();
  double const once = error(2);
  double later = once;
  for (std::uint64_t round = 3; round < 10; ++round) later = error(round);
  CHECK(later <= once * 1.0001);
  CHECK(later < 0.05);

  // One dominant direction and a remainder in the others, at any magnitude, round after round.
  for (float scale : {1.0f, 1e9f, 1e-14f, 1e-20f}) {
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) {
        w.values[0][i * columns + j] =
            scale * (std::sin(float(i)) * std::cos(float(j)) + 1e-4f * source.bell());
      }
    }
    for (std::uint64_t round = 10; round < 16; ++round) {
      CAPTURE(scale);
      CHECK(error(round) < 1e-6);
    }
  }
}

/// A matrix of the given rank.
void fill_of_rank(std::vector<float>& x, std::size_t columns, int rank, numbers& source) {
  std::size_t const rows = x.size() / columns;
  std::fill(x.begin(), x.end(), 0.0f);
  for (int r = 0; r < rank; ++r) {
    auto const p = source.many(rows), q = source.many(columns);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += p[i / columns] * q[i % columns];
  }
}

TEST_CASE(
    "low_rank of a common factor: a matrix of its rank is known from the second round, whatever came "
    "before") {
  for (std::vector<std::size_t> const& shape : {std::vector<std::size_t>{90, 70}, {40, 300}, {300, 10, 4}}) {
    CAPTURE(shape[0]);
    std::size_t const columns = shape[0] == 90 ? 70 : shape[0] == 40 ? 300 : 40;
    staged_wire<common4> w{{shape}};
    std::vector<float>& x = w.values[0];
    std::uint64_t round = 0;
    auto const error = [&] {
      CHECK(w.encode(round) == message_header::no_row);
      auto const y = w.decode(round);
      w.commit(round++);
      // What all ranks hold next is orthonormal.
      std::size_t const n = round % 2 == 0 ? columns : shape[0];
      for (std::size_t a = 0; a < 4; ++a) {
        for (std::size_t b = 0; b <= a; ++b) {
          double along = 0;
          for (std::size_t i = 0; i < n; ++i)
            along += double(w.memory[a * n + i]) * double(w.memory[b * n + i]);
          CHECK(std::fabs(along - (a == b ? 1 : 0)) < 1e-5);
        }
      }
      double lost = 0, all = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        lost += std::pow(double(x[i]) - double(y[0][i]), 2);
        all += std::pow(double(x[i]), 2);
      }
      return all == 0 ? lost : lost / all;
    };
    numbers source(5);
    auto const learns = [&](int rank) {
      fill_of_rank(x, columns, rank, source);
      double const first = error();
      CHECK(error() < 1e-8);
      CHECK(error() < 1e-11);
      return first;
    };
    CHECK(learns(4) > 0.1);
    CHECK(learns(1) > 0.1);  // three of four columns vanish from the agreed factor
    CHECK(learns(4) > 0.1);  // and were drawn again
    std::fill(x.begin(), x.end(), 0.0f);
    CHECK(error() == 0);  // all four vanish
    CHECK(error() == 0);
    learns(4);
    for (float scale : {1e9f, 1e-14f, 1e-20f}) {
      fill_of_rank(x, columns, 3, source);
      for (float& v : x) v *= scale;
      error();
      error();
      CAPTURE(scale);
      CHECK(error() < 1e-10);
    }
  }
}

TEST_CASE("low_rank of a common factor follows the leading directions, and says nothing beyond its factor") {
  constexpr std::size_t rows = 90, columns = 70;
  staged_wire<common4> w{{{rows, columns}, {8, 3}}};
  CHECK(w.plan.slices()[0].codes - w.plan.slices()[0].wire == 4 * 4 * 90);
  CHECK(w.plan.memory_elements() == 4 * 90);  // a matrix of 3 columns is sent as it is
  numbers source(9);
  fill_of_rank(w.values[0], columns, 4, source);
  for (float& v : w.values[0]) v += 0.3f * source.bell();
  auto const best = [&] {  // the best of rank 4, by the rank's own factors after many rounds
    staged_wire<low_rank<4>> own{{{rows, columns}}};
    own.values[0] = w.values[0];
    for (std::uint64_t round = 0; round < 30; ++round) {
      CHECK(own.encode(round) == message_header::no_row);
      own.commit(round);
    }
    return own.decode(29);
  }();
  double lost = 0, least = 0, all = 0;
  for (std::uint64_t round = 0; round < 20; ++round) {
    std::memset(w.payload().data(), 0xff, w.payload().size());
    CHECK(w.encode(round) == message_header::no_row);
    auto const* const said = reinterpret_cast<float const*>(w.payload().data());
    for (std::size_t i = 4 * (round % 2 == 0 ? rows : columns); i < 4 * rows; ++i)
      REQUIRE(bits_of(said[i]) == 0u);
    auto const y = w.decode(round);
    w.commit(round);
    lost = least = all = 0;
    for (std::size_t i = 0; i < rows * columns; ++i) {
      lost += std::pow(double(w.values[0][i]) - double(y[0][i]), 2);
      least += std::pow(double(w.values[0][i]) - double(best[0][i]), 2);
      all += std::pow(double(w.values[0][i]), 2);
    }
  }
  CHECK(least > 0.01 * all);
  CHECK(lost == doctest::Approx(least).epsilon(1e-3));
}

TEST_CASE(
    "low_rank of a common factor: what no encoder writes counts as 0, decoded and in what is agreed on") {
  staged_wire<common4> odd{{{90, 70}}}, zero{{{90, 70}}};
  for (auto* w : {&odd, &zero}) {
    fill(*w, 14, 1.0f);
    CHECK(w->encode() == message_header::no_row);
  }
  auto const floats = [](staged_wire<common4>& w) { return reinterpret_cast<float*>(w.payload().data()); };
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(), 3e38f}) {
    floats(odd)[95] = bad;
    floats(zero)[95] = 0.0f;
    CHECK(odd.decode() == zero.decode());
    for (auto* w : {&odd, &zero}) w->commit(0);
    CHECK(odd.memory == zero.memory);
    for (auto* w : {&odd, &zero}) w->memory = w->first_memory();
  }
}

TEST_CASE("quality on Gaussian data is that of the reference, within 3 %") {
  numbers source(19);
  std::vector<float> gauss(std::size_t{1} << 19);
  for (float& v : gauss) {  // Box and Muller's transform
    double const u = (double(source.next()) + 1) / 2 + 1e-9, t = double(source.next());
    v = static_cast<float>(1e-3 * std::sqrt(-2 * std::log(u)) * std::cos(3.14159265358979 * t));
  }
  auto const expect = [&]<class C>(C, double error) {
    CAPTURE(std::string(C::name));
    staged_wire<C> w{{{gauss.size()}}};
    w.values[0] = gauss;
    CHECK(w.encode() == message_header::no_row);
    auto const y = w.decode();
    double lost = 0, all = 0;
    for (std::size_t i = 0; i < gauss.size(); ++i) {
      lost += std::pow(double(gauss[i]) - double(y[0][i]), 2);
      all += std::pow(double(gauss[i]), 2);
    }
    CHECK(lost / all == doctest::Approx(error).epsilon(0.03));
    // top_k leaves nearly all of the energy, so check the part that it keeps as well.
    CHECK(1 - lost / all == doctest::Approx(1 - error).epsilon(0.03));
  };
  expect(statistical<256>{}, 2.574e-4);
  expect(statistical<16>{}, 1.233e-2);
  expect(statistical<4>{}, 1.789e-1);
  expect(top64_f16{}, 8.806e-1);
  expect(top64{}, 8.821e-1);
  expect(top_k<128, kept_as::f16>{}, 7.998e-1);
  expect(top128{}, 8.032e-1);
  expect(top_k<32, kept_as::f16>{}, 9.305e-1);
  // Second moment of a Gaussian's largest quarter.
  expect(top_k<1024, kept_as::f16>{}, 2.759e-1);
  expect(random64{}, 1 - 64.0 / 4096);
  // An orthonormal transform of white noise is white noise.
  expect(dct_top_k<128>{}, 7.998e-1);
}

}  // namespace
