// SPDX-License-Identifier: Apache-2.0
// Every compressor at the ends of its range: exact zeros, the smallest and the largest magnitude.
#include "codec.hpp"
#include "staged.hpp"

#include <algorithm>

namespace {

using namespace laws;

using vote = sign<256, sign_scale::vote>;
template <class Tuple>
struct with_vote;
template <class... C>
struct with_vote<std::tuple<C...>> {
  using type = std::tuple<C..., vote, sign<512, sign_scale::rms>, sign<512, sign_scale::two_means>,
                          lloyd_max<2, 512>, lloyd_max<3, 512>, min_max<2, 256>, hadamard<32, sign<>>>;
};
using blocks = with_vote<block_compressors>::type;

/// Which elements are exactly 0: whole groups, one element, all but one, every second, a tail, or scattered
/// ones at any density.
constexpr int patterns = 12;
bool is_zero(int pattern, std::size_t i, std::size_t n, numbers& source) {
  float const u = source.next();
  switch (pattern) {
    case 0:
      return i / 32 % 2 == 0;
    case 1:
      return i == n / 3;
    case 2:
      return i != n / 2;
    case 3:
      return i % 2 == 0;
    case 4:
      return i + i / 4 >= n;
    case 5:
      return i < n / 4;
    case 6:
      return i / 7 % 3 == 1;
    case 7:
      return u < 0.9f;
    case 8:
      return u < -0.9f;
    case 9:
      return u < 0.98f;
    case 10:
      return i == 0;
    default:
      return i + 1 == n;
  }
}

/// Numbers with both signs, one sign, or a bias. The zeros of pattern 3 have the sign bit set.
std::vector<float> with_zeros(std::size_t n, int pattern, int shape, float scale, numbers& source) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    float const v = shape == 0   ? source.bell()
                    : shape == 1 ? -std::fabs(source.bell())
                    : shape == 2 ? 3.0f + source.bell()
                                 : (source.next() < 0 ? -1.0f : 1.0f);
    x[i] = is_zero(pattern, i, n, source) ? (pattern == 3 ? -0.0f : 0.0f) : scale * v;
  }
  return x;
}

TEST_CASE_TEMPLATE_DEFINE("an exact 0 decodes to exactly +0", C, zero_laws) {
  numbers source(41);
  bool kept = true;
  for (int n : lengths(C::block)) {
    for (int pattern = 0; pattern < patterns; ++pattern) {
      for (int shape = 0; shape < 4; ++shape) {
        for (float scale : {0.01f, 3e-30f, 1e30f}) {
          if (scale > C::largest / 100) continue;
          auto const x = with_zeros(static_cast<std::size_t>(n), pattern, shape, scale, source);
          auto const y = decode(C{}, encode(C{}, x.data(), n), n);
          for (std::size_t i = 0; i < y.size(); ++i) {
            bool const right = C::traits.lossless ? y[i] == x[i] : x[i] != 0.0f || bits_of(y[i]) == 0u;
            if (keeps_zero<C>) REQUIRE(right);
            kept = kept && right;
          }
        }
      }
    }
  }
  CHECK(kept == keeps_zero<C>);
}
TEST_CASE_TEMPLATE_APPLY(zero_laws, blocks);

using top64 = top_k<64>;
using top5 = top_k<5, kept_as::two_bits, 256>;
using top1 = top_k<1>;
using top64_f16 = top_k<64, kept_as::f16>;
using cosine_coded = dct_top_k<32, kept_as::two_bits>;
using random64 = random_k<64>;
template <int N>
using symmetric = statistical<N, buckets::symmetric>;
using common4 = low_rank<4, factors::common>;
template <class F>
void for_staged(F&& f) {
  f(top64{});
  f(top5{});
  f(top1{});
  f(top64_f16{});
  f(dct_top_k<32>{});
  f(cosine_coded{});
  f(random64{});
  f(statistical<4>{});
  f(statistical<16>{});
  f(statistical<256>{});
  f(symmetric<4>{});
  f(symmetric<16>{});
  f(symmetric<256>{});
  f(low_rank<2>{});
  f(common4{});
}

TEST_CASE("staged: an exact 0 decodes to exactly +0") {
  for_staged([]<class C>(C) {
    CAPTURE(std::string(C::name));
    numbers source(42);
    staged_wire<C> w{{{1}, {5}, {300}, {4096}, {4097}, {9000}, {96, 64}, {1024, 16}}};
    bool kept = true;
    for (int pattern = 0; pattern < patterns + 2; ++pattern) {
      for (int shape = 0; shape < 4; ++shape) {
        for (float scale : {0.01f, 3e-28f, 1e3f}) {
          if (scale > C::largest / 100) continue;
          for (auto& v : w.values) {
            v = with_zeros(v.size(), pattern < patterns ? pattern : 1, shape, scale, source);
            // Whole chunks of zeros next to a full one, and a chunk with three numbers.
            for (std::size_t i = 0; i < v.size() && pattern >= patterns; ++i)
              v[i] = i < 2000 || (pattern > patterns && (i == 5000 || i == 5001 || i == 8190)) ? v[i] : 0.0f;
          }
          CHECK(w.encode() == message_header::no_row);
          auto const y = w.decode();
          for (std::size_t t = 0; t < y.size(); ++t) {
            for (std::size_t i = 0; i < y[t].size(); ++i) {
              bool const right = w.values[t][i] != 0.0f || bits_of(y[t][i]) == 0u;
              if (keeps_zero<C>) REQUIRE(right);
              kept = kept && right;
            }
          }
        }
      }
    }
    CHECK(kept == keeps_zero<C>);
  });
}

/// The largest error, as a share of amax, over some blocks.
template <class C>
double worst_share(float amax) {
  numbers source(43);
  double worst = 0;
  for (int b = 0; b < 8; ++b) {
    auto x = source.many(static_cast<std::size_t>(C::block), amax / 3);
    x[7] = amax;
    auto const y =
        decode(C{}, encode(C{}, x.data(), C::block, 0, {static_cast<std::uint64_t>(b), 0, 0}), C::block);
    for (std::size_t i = 0; i < y.size(); ++i)
      worst = std::max(worst, std::fabs(double(x[i]) - double(y[i])) / double(amax));
  }
  return worst;
}
template <class C>
double lost_share_staged(float amax) {
  numbers source(44);
  staged_wire<C> w{{{5000}, {80, 70}}};
  for (auto& v : w.values) {
    v = source.many(v.size(), amax / 3);
    v[7] = amax;
  }
  CHECK(w.encode() == message_header::no_row);
  auto const y = w.decode();
  double lost = 0, all = 0;
  for (std::size_t t = 0; t < y.size(); ++t) {
    for (std::size_t i = 0; i < y[t].size(); ++i) {
      lost += std::pow((double(w.values[t][i]) - double(y[t][i])) / double(amax), 2);
      all += std::pow(double(w.values[t][i]) / double(amax), 2);
    }
  }
  return lost / all;
}

/// x is the same in every round. The sum of sent values and the residual must equal the sum of x, however
/// small x is.
template <class C>
void telescopes(float amax) {
  auto const n = static_cast<std::size_t>(C::block);
  auto const x = numbers(45).many(n, amax / 3);
  std::vector<float> want(n), left(n);
  std::vector<double> sent(n);
  for (std::uint64_t round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < n; ++i) want[i] = x[i] + left[i];
    auto const y = decode(C{}, encode(C{}, want.data(), C::block, 0, {round, 0, 0}), C::block);
    for (std::size_t i = 0; i < n; ++i) {
      left[i] = want[i] - y[i];
      sent[i] += double(y[i]);
    }
  }
  for (std::size_t i = 0; i < n; ++i)
    REQUIRE(std::fabs(sent[i] + double(left[i]) - 20 * double(x[i])) <= 1e-4 * double(amax) + 0x1p-140);
}

TEST_CASE_TEMPLATE_DEFINE("the usual error at the smallest magnitude, and nothing forgotten below it", C,
                          small_laws) {
  if (!std::is_same_v<C, vote>) {
    CHECK(worst_share<C>(C::smallest) <= 2.1 * worst_share<C>(1.0f));
    for (float part : {1.0f, 0x1p-3f, 0x1p-12f}) telescopes<C>(C::smallest * part);
  }
}
TEST_CASE_TEMPLATE_APPLY(small_laws, blocks);

TEST_CASE("staged: the usual error at the smallest magnitude") {
  for_staged([]<class C>(C) {
    CAPTURE(std::string(C::name));
    CHECK(lost_share_staged<C>(C::smallest) <= 1.1 * lost_share_staged<C>(1.0f) + 1e-12);
  });
}

TEST_CASE_TEMPLATE_DEFINE("the largest magnitude decodes to finite numbers of at most twice it", C,
                          large_laws) {
  numbers source(46);
  for (int n : lengths(C::block)) {
    for (int pattern = 0; pattern < patterns + 1; ++pattern) {
      auto x = with_zeros(static_cast<std::size_t>(n), pattern, pattern % 4, C::largest / 8, source);
      for (float& v : x) v = pattern == patterns ? C::largest : v;
      x[0] = -C::largest;
      // A rotation may put the values of 32 elements on one.
      for (float y : decode(C{}, encode(C{}, x.data(), n), n))
        REQUIRE(std::fabs(double(y)) <= (keeps_zero<C> ? 2 : 32) * double(C::largest));
    }
  }
}
TEST_CASE_TEMPLATE_APPLY(large_laws, blocks);

TEST_CASE("staged: the largest magnitude decodes to finite numbers of at most twice it") {
  for_staged([]<class C>(C) {
    CAPTURE(std::string(C::name));
    staged_wire<C> w{{{5000}, {9}, {80, 70}}};
    numbers source(47);
    for (int pattern = 0; pattern < patterns; ++pattern) {
      for (auto& v : w.values) {
        v = with_zeros(v.size(), pattern, 3, C::largest, source);
        v[0] = -C::largest;
      }
      CHECK(w.encode() == message_header::no_row);
      for (auto const& v : w.decode()) {
        for (float y : v)
          REQUIRE(std::fabs(double(y)) <= 2 * double(C::largest) * (C::name.starts_with("dct") ? 32 : 1));
      }
    }
  });
}

/// The code of the nearest E2M1 number, in double. Ties go to the even code.
unsigned e2m1_code(double q) {
  constexpr double grid[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  unsigned best = 0;
  for (unsigned k = 1; k < 8; ++k) {
    double const now = std::fabs(q - grid[best]), next = std::fabs(q - grid[k]);
    if (next < now || (next == now && k % 2 == 0)) best = k;
  }
  return best;
}

TEST_CASE(
    "nvfp4 rounds the exact quotient to the nearest, ties to even: 2^18 codes, on ties and beside them") {
  constexpr double ties[7] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5};
  numbers source(48);
  std::size_t wrong = 0, on_ties = 0;
  for (int b = 0; b < 512; ++b) {
    auto x = source.many(512);
    for (float& v : x)
      v = b % 2 == 0 ? v : std::round(v * 40) / 8;  // round numbers, which hit ties without help
    auto w = encode(nvfp4{}, x.data(), 512);
    auto const scale = [&](std::size_t g) {
      return product(float_e4m3::widen(static_cast<unsigned>(w.side[4 + g])),
                     *reinterpret_cast<float const*>(w.side.data()));
    };
    for (std::size_t g = 0; g < 32 && b % 4 < 2;
         ++g) {  // near ties, below the group's largest element, so the scale stays the same
      float most = 0;
      for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) most = std::max(most, std::fabs(x[i]));
      for (std::size_t i = 16 * g; i < 16 * g + 16; ++i) {
        auto const t = static_cast<float>(ties[(i + std::size_t(b)) % 7] * double(scale(g)));
        if (std::fabs(x[i]) == most || t >= most) continue;
        x[i] = std::nextafter(t, i % 3 == 0 ? 0.0f : i % 3 == 1 ? t : 9e9f) * (i % 2 == 0 ? 1.0f : -1.0f);
      }
    }
    w = encode(nvfp4{}, x.data(), 512);
    for (std::size_t i = 0; i < 512; ++i) {
      float const s = scale(i / 16);
      if (s == 0.0f) continue;
      unsigned const code = static_cast<unsigned>(w.code[i / 2]) >> (i % 2 * 4) & 7u;
      double const q = std::fabs(double(x[i]) / double(s));
      wrong += code == e2m1_code(q) ? 0 : 1;
      for (double t : ties) on_ties += q == t ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
  CHECK(on_ties > 500);
}

TEST_CASE("describe() warns of a compressor that loses what is small") {
  std::vector<float> theta(300, 1.0f);
  auto const text = [&](auto compressor, auto feedback) {
    return DiLoCo(recipe<>{}
                      .with_compressor(compressor)
                      .with_feedback(feedback)
                      .with_transport(alone{})
                      .with_executor(main_executor{}),
                  one_tensor(theta))
        .describe();
  };
  CHECK(text(f16{}, no_feedback{}).find(" · below 6.1e-05 lost in part ·") != std::string::npos);
  CHECK(text(f16{}, error_feedback{}).find(" · below 6.1e-05 lost in part and kept in the residual ·") !=
        std::string::npos);
  CHECK(text(scaled_f16<>{}, error_feedback{}).find("lost in part") == std::string::npos);
}

}  // namespace
