// SPDX-License-Identifier: Apache-2.0
// Every compressor at the ends of its range: exact zeros, the smallest and the largest magnitude.
#include "codec.hpp"
#include "staged.hpp"

namespace {

using namespace laws;

using vote = sign<256, sign_scale::vote>;
template <class Tuple>
struct with_vote;
template <class... C>
struct with_vote<std::tuple<C...>> {
  using type = std::tuple<C..., vote, sign<512, sign_scale::rms>, sign<512, sign_scale::two_means>, lloyd_max<2, 512>,
                          lloyd_max<3, 512>, min_max<2, 256>, hadamard<32, sign<>>>;
};
using blocks = with_vote<block_compressors>::type;

/// Which elements are exactly 0: whole groups, one alone, all but one, every second, a tail, scattered ones of any density.
constexpr int patterns = 12;
bool is_zero(int pattern, std::size_t i, std::size_t n, numbers& source) {
  float const u = source.next();
  switch (pattern) {
    case 0: return i / 32 % 2 == 0;
    case 1: return i == n / 3;
    case 2: return i != n / 2;
    case 3: return i % 2 == 0;
    case 4: return i + i / 4 >= n;
    case 5: return i < n / 4;
    case 6: return i / 7 % 3 == 1;
    case 7: return u < 0.9f;
    case 8: return u < -0.9f;
    case 9: return u < 0.98f;
    case 10: return i == 0;
    default: return i + 1 == n;
  }
}

/// Both signs, one sign, or a bias; the zeros of pattern 3 have the sign bit set.
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
            bool const right = C::lossless ? y[i] == x[i] : x[i] != 0.0f || bits_of(y[i]) == 0u;
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
            // Whole chunks of zeros beside one that is full, and a chunk with three numbers.
            for (std::size_t i = 0; i < v.size() && pattern >= patterns; ++i)
              v[i] = i < 2000 || (pattern > patterns && (i == 5000 || i == 5001 || i == 8190)) ? v[i] : 0.0f;
          }
          CHECK(w.encode() == frame::no_row);
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

}  // namespace
