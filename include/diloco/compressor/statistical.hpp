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

/// Where the buckets lie: the published rule rounds (x − mean)/(6σ/N) to N/2 below and N/2 − 1 above the mean, so that four
/// buckets have their centres at −3σ, −1.5σ, 0 and 1.5σ; the symmetric one puts as many on either side.
enum class buckets { published, symmetric };

/// N buckets of width 6σ/N around the tensor's mean, and the mean of each bucket's members as its number (hivemind's
/// uniform8 and PRIME at 256; MuLoCo at 4 and 16): log₂N bits, and 4·N bytes for each tensor. Clips beyond about 3σ. NMSE on
/// Gaussian data 2.6e-4, 1.2e-2 and 0.18 (0.16 symmetric). A tensor of at most N elements is sent as it is.
template <int N, buckets Where = buckets::published>
struct statistical {
  static_assert(N == 4 || N == 16 || N == 256, "diloco: statistical: N is 4, 16 or 256");
  static constexpr auto label =
      join(std::string_view(Where == buckets::published ? "statistical" : "statistical_symmetric"), unsigned(N));
  static constexpr std::string_view name = label.view();
  static constexpr int bits = N == 4 ? 2 : N == 16 ? 4 : 8;
  static constexpr int block = 4096;
  static constexpr bool lossless = false;
  static constexpr float largest = 0x1p48f;  // squares of 2³¹ such numbers have a finite sum
  static constexpr std::array stages{stage::fused, stage::whole, stage::chunks, stage::whole};
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return packed_bytes<bits>(n); }
  DILOCO_HD static constexpr bool raw(std::size_t elements) { return elements <= N; }
  static constexpr std::size_t slice_bytes(std::size_t elements, std::size_t) {
    return raw(elements) ? sizeof(float) * elements : sizeof(float) * N;
  }
  static constexpr std::size_t scratch_bytes(std::size_t elements, std::size_t) {
    return raw(elements) ? 0 : sizeof(moments) + (elements + block - 1) / block * sizeof(workspace);
  }

  template <int Stage, lanes L>
  DILOCO_HD void encode(L l, slice const& s, std::size_t j) const {
    if (raw(s.elements)) {
      if constexpr (Stage == 0) detail::send_raw(l, s, j);
      return;
    }
    if constexpr (Stage == 0) measure(l, s, j);
    if constexpr (Stage == 1) join_moments(l, s);
    if constexpr (Stage == 2) sort_into_buckets(l, s, j);
    if constexpr (Stage == 3) write_means(l, s);
  }

  template <lanes L>
  DILOCO_HD void decode(L l, slice_view const& s, std::size_t j, float c, float* DILOCO_RESTRICT g) const {
    if (raw(s.elements)) return detail::add_raw(l, s, j, c, g);
    int const n = s.count(j);
    auto const* const numbers = reinterpret_cast<float const*>(s.side);
    // One thread reads a table of its own; 32 lanes would have to keep it on the stack.
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
  static constexpr int part = 256;  // packed at a time
  /// Mean and sum of squared distances from it; of a chunk, or of them all.
  struct alignas(16) moments {
    float mean, squares;
  };
  /// Of one chunk: its moments; then of each bucket the members and the sum of their places within the bucket, in 2⁻¹⁹ of
  /// its width, as integers, which add up in any order. The outer two are open, so theirs are sums of numbers.
  struct alignas(16) workspace {
    moments m;
    std::uint32_t count[N];
    std::uint32_t place[N];
    float ends[2];
  };
  DILOCO_HD static moments& all(slice const& s) { return *reinterpret_cast<moments*>(s.scratch); }
  DILOCO_HD static workspace& of(slice const& s, std::size_t j) {
    return reinterpret_cast<workspace*>(s.scratch + sizeof(moments))[j];
  }

  template <lanes L>
  DILOCO_HD static void measure(L l, slice const& s, std::size_t j) {
    float const* DILOCO_RESTRICT x = s.chunk_x(j);
    auto const n = static_cast<std::size_t>(s.count(j));
    float const mean = ordered_sum(l, n, [&](std::size_t i) { return x[i]; }) / static_cast<float>(n);
    float const squares = ordered_sum(l, n, [&](std::size_t i) { return product(x[i] - mean, x[i] - mean); });
    workspace& w = of(s, j);
    if (L::rank() == 0) w.m = {mean, squares};
    for (int b = L::rank(); b < N; b += L::width) w.count[b] = w.place[b] = 0;
  }
  template <lanes L>
  DILOCO_HD static void join_moments(L l, slice const& s) {
    std::size_t const chunks = s.chunks();
    auto const n = static_cast<float>(s.elements);
    auto const weight = [&](std::size_t j) { return static_cast<float>(s.count(j)); };
    float const mean = ordered_sum(l, chunks, [&](std::size_t j) { return product(weight(j), of(s, j).m.mean); }) / n;
    float const squares = ordered_sum(l, chunks, [&](std::size_t j) {
      float const d = of(s, j).m.mean - mean;
      return fma(product(weight(j), d), d, of(s, j).m.squares);
    });
    if (L::rank() == 0) all(s) = {mean, squares};
  }
  /// σ/(N/6), the width of a bucket; 0 where all elements are alike.
  DILOCO_HD static float width_of(slice const& s) {
    float const n = s.elements > 1 ? static_cast<float>(s.elements - 1) : 1.0f;
    float const width = product(std::sqrt(all(s).squares / n), 6.0f / N);
    return width < smallest_block_magnitude ? 0.0f : width;
  }
  static constexpr float shift = Where == buckets::symmetric ? 0.5f : 0.0f;  // of the centres, in widths

  template <lanes L>
  DILOCO_HD static void sort_into_buckets(L l, slice const& s, std::size_t j) {
    float const mean = all(s).mean, width = width_of(s), inverse = width == 0.0f ? 0.0f : 1.0f / width;
    float const* DILOCO_RESTRICT x = s.chunk_x(j);
    int const n = s.count(j);
    workspace& w = of(s, j);
    // t − ½ to the nearest, of t in widths from the mean; at most N/2 away, so that 1.5·2²³ rounds it.
    auto const place = [&](float v) {
      float const t = fma(v - mean, inverse, -shift);
      return t < -N / 2 ? -N / 2 : t > N / 2 - 1 ? static_cast<float>(N / 2 - 1) : t;
    };
    auto const bucket = [&](float v) { return bits_of(place(v) + 12582912.0f) - 0x4B400000u + N / 2; };
    for (int from = 0; from < n; from += part) {
      int const count = n - from < part ? n - from : part, first = from + first_element<L, part>(l);
      int const mine = owned_elements<L, part>(l, count);
      pack<bits, part>(l, count, s.code(j) + from * bits / 8,
                       [&](int i) { return i < mine ? bucket(x[first + i]) & (N - 1u) : 0u; });
    }
    for (int i = L::rank(); i < n; i += L::width) {
      std::uint32_t const b = bucket(x[i]);
      float const centre = static_cast<float>(static_cast<int>(b) - N / 2);
      L::atomic_add(&w.count[b], 1u);
      L::atomic_add(&w.place[b], bits_of(fma(place(x[i]) - centre, 524288.0f, 12582912.0f)) - 0x4B400000u);
    }
    for (std::uint32_t end = 0; end < 2; ++end) {
      std::uint32_t const b = end == 0 ? 0u : N - 1u;
      float const sum = ordered_sum(l, static_cast<std::size_t>(n),
                                    [&](std::size_t i) { return bucket(x[i]) == b ? x[i] - mean : 0.0f; });
      if (L::rank() == 0) w.ends[end] = sum;
    }
  }
  template <lanes L>
  DILOCO_HD static void write_means(L l, slice const& s) {
    std::size_t const chunks = s.chunks();
    float const mean = all(s).mean, width = width_of(s);
    for (std::uint32_t b = 0; b < N; ++b) {
      float const count = ordered_sum(l, chunks, [&](std::size_t j) { return static_cast<float>(of(s, j).count[b]); });
      bool const open = b == 0 || b == N - 1;
      float const sum = ordered_sum(l, chunks, [&](std::size_t j) {
        workspace const& w = of(s, j);
        return open ? w.ends[b == 0 ? 0 : 1] : static_cast<float>(static_cast<std::int32_t>(w.place[b]));
      });
      float const centre = fma(static_cast<float>(static_cast<int>(b) - N / 2) + shift, width, mean);
      float const inverse = count > 0.0f ? 1.0f / count : 0.0f;
      float const off = open ? product(sum, inverse) : product(product(sum, inverse), product(width, 0x1p-19f));
      if (L::rank() == 0)
        reinterpret_cast<float*>(s.side)[b] = count == 0.0f ? centre : open ? mean + off : centre + off;
    }
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
