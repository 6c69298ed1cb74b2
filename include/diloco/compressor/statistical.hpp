// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/compressor/detail/raw.hpp>
#include <diloco/concepts/staged.hpp>
#include <diloco/core/fma.hpp>
#include <diloco/core/ordered_sum.hpp>
#include <diloco/core/pack.hpp>
#include <diloco/core/text.hpp>

#include <string_view>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Where the buckets lie. The published rule rounds (x − mean)/(6σ/N) to at most N/2 below and N/2 − 1 above
/// the mean. Four buckets then have their centres at −3σ, −1.5σ, 0 and 1.5σ. The symmetric rule puts as many
/// buckets on either side.
enum class buckets { published, symmetric };

/// N buckets of width 6σ/N around the tensor's mean. The number of a bucket is the mean of its members.
/// hivemind's uniform8 and PRIME use 256 buckets, MuLoCo 4 and 16. It takes log₂N bits, and 4·N bytes for
/// each tensor.
/// It clips beyond about 3σ. NMSE on Gaussian data is 2.6e-4 at 256 buckets, 1.2e-2 at 16 and 0.18 (0.16
/// symmetric) at 4. A tensor of at most N elements is sent uncompressed.
/// Where some elements are exactly 0, mean and σ are those of the others. The buckets then move by up to half
/// a width, so that one has its centre at 0, and its number is 0. If 0 lies at or beyond an outer bucket,
/// that bucket is for zeros alone.
template <int N, buckets Where = buckets::published>
struct statistical {
  static_assert(N == 4 || N == 16 || N == 256, "diloco: statistical: N is 4, 16 or 256");
  static constexpr auto label = join(
      std::string_view(Where == buckets::published ? "statistical" : "statistical_symmetric"), unsigned(N));
  static constexpr std::string_view name = label.view();
  static constexpr int bits = N == 4 ? 2 : N == 16 ? 4 : 8;
  static constexpr int block = 4096;
  static constexpr compressor_traits traits{.scratch = true};
  static constexpr float largest = 0x1p48f;  // the sum of 2³¹ squares of such numbers is finite
  static constexpr float smallest = smallest_block_magnitude;
  static constexpr std::array stages{stage::fused, stage::whole, stage::chunks, stage::whole};
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<bits>(n); }
  DILOCO_HD static constexpr bool raw(std::size_t elements) { return elements <= N; }
  static constexpr std::size_t slice_bytes(std::size_t elements, std::size_t) {
    return raw(elements) ? sizeof(float) * elements : sizeof(float) * N;
  }
  static constexpr std::size_t scratch_bytes(std::size_t elements, std::size_t) {
    return raw(elements) ? 0 : sizeof(grid) + (elements + block - 1) / block * sizeof(workspace);
  }

  template <int Stage, lanes L>
  DILOCO_HD void encode(L l, slice const& s, std::size_t j) const {
    if (raw(s.elements)) {
      if constexpr (Stage == 0) detail::send_raw(l, s, j);
      return;
    }
    if constexpr (Stage == 0) measure(l, s, j);
    if constexpr (Stage == 1) join_moments(l, s);
    if constexpr (Stage == 2) {
      if (all(s).zero == N)
        sort_into_buckets<false>(l, s, j);
      else
        sort_into_buckets<true>(l, s, j);
    }
    if constexpr (Stage == 3) write_means(l, s);
  }

  template <lanes L>
  DILOCO_HD void decode(L l, slice_view const& s, std::size_t j, float c, float* DILOCO_RESTRICT g) const {
    if (raw(s.elements)) return detail::add_raw(l, s, j, c, g);
    int const n = s.count(j);
    auto const* const numbers = reinterpret_cast<float const*>(s.side);
    // A single thread reads its own table. A table of 32 lanes would lie on the stack.
    float table[L::width == 1 ? N : 1];
    if constexpr (L::width == 1) {
      for (int b = 0; b < N; ++b) table[b] = detail::number_on_wire(numbers[b]);
    }
    for (int from = 0; from < n; from += part) {
      int const count = n - from < part ? n - from : part, first = from + first_element<L, part>(l);
      int const mine = owned_elements<L, part>(l, count);
      unpack<bits, part>(l, count, s.code(j) + from * bits / 8, [&](int i, std::uint32_t top) {
        std::uint32_t const b = top >> (32 - bits);
        float const y = L::width == 1 ? table[L::width == 1 ? b : 0] : detail::number_on_wire(numbers[b]);
        if (count == part || i < mine) g[first + i] = fma(c, y, g[first + i]);
      });
    }
  }
  friend bool operator==(statistical const&, statistical const&) { return true; }

 private:
  static constexpr int part = 256;  // elements packed at a time
  /// Moments of the nonzero elements of a chunk: their number, their mean and the sum of squared distances
  /// from it. `squares` is in units of 2^(2·(exponent − 127)). `exponent` is that of the largest element, so
  /// squares stay in range.
  struct alignas(16) moments {
    float mean, squares;
    std::uint32_t exponent, count;
  };
  /// origin: the centre of bucket N/2 (before `shift`). width: the width of a bucket, 0 where all elements
  /// are alike. zero: the bucket that means 0, or N where no element is 0.
  struct alignas(16) grid {
    float origin, width;
    std::uint32_t zero;
    /// The outer buckets of nonzero numbers. Both are open.
    DILOCO_HD std::uint32_t first() const { return zero == 0 ? 1u : 0u; }
    DILOCO_HD std::uint32_t last() const { return zero == N - 1u ? N - 2u : N - 1u; }
    /// Shift of the centres, in widths.
    DILOCO_HD float shift() const {
      return Where == buckets::symmetric && (zero == 0 || zero >= N - 1u) ? 0.5f : 0.0f;
    }
    DILOCO_HD float centre(std::uint32_t b) const {
      return fma(static_cast<float>(static_cast<int>(b) - N / 2) + shift(), width, origin);
    }
  };
  /// Data of one chunk: its moments, and for each bucket the number of members and the sum of their places
  /// within the bucket. Places are integers in units of 2⁻¹⁹ of the width, so they add up in any order. The
  /// outer two buckets are open, so `ends` has sums of their numbers.
  struct alignas(16) workspace {
    moments m;
    std::uint32_t count[N];
    std::uint32_t place[N];
    float ends[2];
  };
  DILOCO_HD static grid& all(slice const& s) { return *reinterpret_cast<grid*>(s.scratch); }
  DILOCO_HD static workspace& of(slice const& s, std::size_t j) {
    return reinterpret_cast<workspace*>(s.scratch + sizeof(grid))[j];
  }

  template <lanes L>
  DILOCO_HD static void measure(L l, slice const& s, std::size_t j) {
    float const* DILOCO_RESTRICT x = s.chunk_x(j);
    auto const n = static_cast<std::size_t>(s.count(j));
    std::uint32_t most = 0, others = 0;
    for (int i = L::rank(); i < static_cast<int>(n); i += L::width) {
      std::uint32_t const a = magnitude_bits(x[i]);
      most = larger(most, a);
      others += a != 0 ? 1u : 0u;
    }
    most = L::max(most);
    others = L::sum(others);
    std::uint32_t const exponent = larger(most >> 23, 1u);
    float const unit = float_of((254u - exponent) << 23);
    float const mean =
        ordered_sum(l, n, [&](std::size_t i) { return x[i]; }) / static_cast<float>(larger(others, 1u));
    auto const square = [&](float v) {
      float const d = product(v - mean, unit);
      return product(d, d);
    };
    float const squares =
        others == n ? ordered_sum(l, n, [&](std::size_t i) { return square(x[i]); })
                    : ordered_sum(l, n, [&](std::size_t i) { return x[i] == 0.0f ? 0.0f : square(x[i]); });
    workspace& w = of(s, j);
    if (L::rank() == 0) w.m = {mean, squares, exponent, others};
    for (int b = L::rank(); b < N; b += L::width) w.count[b] = w.place[b] = 0;
  }
  template <lanes L>
  DILOCO_HD static void join_moments(L l, slice const& s) {
    std::size_t const chunks = s.chunks();
    std::uint32_t exponent = 1;
    for (auto j = static_cast<std::size_t>(L::rank()); j < chunks; j += static_cast<std::size_t>(L::width))
      exponent = larger(exponent, of(s, j).m.exponent);
    exponent = L::max(exponent);
    auto const weight = [&](std::size_t j) { return static_cast<float>(of(s, j).m.count); };
    double const heard =
        ordered_sum<double>(l, chunks, [&](std::size_t j) { return static_cast<double>(of(s, j).m.count); });
    float const n = heard > 0 ? static_cast<float>(heard) : 1.0f;
    float const less = heard > 1 ? static_cast<float>(heard - 1) : 1.0f;
    float const mean =
        ordered_sum(l, chunks, [&](std::size_t j) { return product(weight(j), of(s, j).m.mean); }) / n;
    float const unit = float_of((254u - exponent) << 23);
    float const squares = ordered_sum(l, chunks, [&](std::size_t j) {
      moments const m = of(s, j).m;
      float const d = product(m.mean - mean, unit);
      std::uint32_t const down = exponent - m.exponent;
      float const power = down > 126u ? 0.0f : float_of((127u - down) << 23);
      return fma(product(weight(j), d), d, product(product(m.squares, power), power));
    });
    float const width = product(product(std::sqrt(squares / less), 6.0f / N), float_of(exponent << 23));
    bool const zeros = heard < static_cast<double>(s.elements);
    if (L::rank() == 0) all(s) = grid_of(mean, width < smallest_width ? 0.0f : width, zeros);
  }
  static constexpr float smallest_width = 0x1p-120f;  // its reciprocal and distances in it are finite
  /// Gives an outer bucket to the zeros, or moves the grid so that 0 is the centre of an inner one.
  DILOCO_HD static grid grid_of(float mean, float width, bool zeros) {
    if (!zeros) return {mean, width, N};
    float const off = width == 0.0f ? static_cast<float>(N) : mean / width;  // distance from 0 in widths
    grid const edge{mean, width, mean > 0.0f ? 0u : N - 1u};
    if (!(off < N / 2 && off > -N / 2)) return edge;
    float const whole = (off + 12582912.0f) - 12582912.0f;
    int const zero = N / 2 - static_cast<int>(whole);
    if (zero <= 0 || zero >= N - 1) return edge;
    return {product(whole, width), width, static_cast<std::uint32_t>(zero)};
  }

  template <bool Zeros, lanes L>
  DILOCO_HD static void sort_into_buckets(L l, slice const& s, std::size_t j) {
    grid const at = all(s);
    float const origin = at.origin, shift = at.shift(), inverse = at.width == 0.0f ? 0.0f : 1.0f / at.width;
    float const least = static_cast<float>(static_cast<int>(at.first()) - N / 2);
    float const most = static_cast<float>(static_cast<int>(at.last()) - N / 2);
    float const* DILOCO_RESTRICT x = s.chunk_x(j);
    int const n = s.count(j);
    workspace& w = of(s, j);
    // t is the distance from the origin in widths, less `shift`. It is at most N/2, so adding 1.5·2²³ rounds
    // it to the nearest integer.
    auto const place = [&](float v) {
      float const t = fma(v - origin, inverse, -shift);
      return t < least ? least : t > most ? most : t;
    };
    auto const bucket = [&](float v) { return bits_of(place(v) + 12582912.0f) - 0x4B400000u + N / 2; };
    std::uint32_t const zero = at.zero;
    auto const code = [&](float v) { return (Zeros && v == 0.0f ? zero : bucket(v)) & (N - 1u); };
    for (int from = 0; from < n; from += part) {
      int const count = n - from < part ? n - from : part, first = from + first_element<L, part>(l);
      int const mine = owned_elements<L, part>(l, count);
      pack<bits, part>(l, count, s.code(j) + from * bits / 8,
                       [&](int i) { return i < mine ? code(x[first + i]) : 0u; });
    }
    for (int i = L::rank(); i < n; i += L::width) {
      if (Zeros && x[i] == 0.0f) continue;
      std::uint32_t const b = bucket(x[i]);
      float const centre = static_cast<float>(static_cast<int>(b) - N / 2);
      L::atomic_add(&w.count[b], 1u);
      L::atomic_add(&w.place[b], bits_of(fma(place(x[i]) - centre, 524288.0f, 12582912.0f)) - 0x4B400000u);
    }
    for (std::uint32_t end = 0; end < 2; ++end) {
      std::uint32_t const b = end == 0 ? at.first() : at.last();
      float const sum = ordered_sum(l, static_cast<std::size_t>(n), [&](std::size_t i) {
        return !(Zeros && x[i] == 0.0f) && bucket(x[i]) == b ? x[i] - origin : 0.0f;
      });
      if (L::rank() == 0) w.ends[end] = sum;
    }
  }
  template <lanes L>
  DILOCO_HD static void write_means(L l, slice const& s) {
    std::size_t const chunks = s.chunks();
    grid const at = all(s);
    for (std::uint32_t b = 0; b < N; ++b) {
      float const count =
          ordered_sum(l, chunks, [&](std::size_t j) { return static_cast<float>(of(s, j).count[b]); });
      bool const open = b == at.first() || b == at.last();
      float const sum = ordered_sum(l, chunks, [&](std::size_t j) {
        workspace const& w = of(s, j);
        return open ? w.ends[b == at.first() ? 0 : 1]
                    : static_cast<float>(static_cast<std::int32_t>(w.place[b]));
      });
      float const centre = at.centre(b);
      float const inverse = count > 0.0f ? 1.0f / count : 0.0f;
      float const off =
          open ? product(sum, inverse) : product(product(sum, inverse), product(at.width, 0x1p-19f));
      float const number = count == 0.0f ? centre : open ? at.origin + off : centre + off;
      if (L::rank() == 0) reinterpret_cast<float*>(s.side)[b] = b == at.zero ? 0.0f : number;
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
