// SPDX-License-Identifier: Apache-2.0
// A staged compressor of your own that needs a whole tensor. It sends one bit per element and a single scale
// per tensor, the mean magnitude.
// First each chunk writes its signs and its part of the sum. Then the parts are added up, once per tensor.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

// [compressor]
/// x → ±mean|x| over the whole tensor (the scaled sign of Karimireddy et al. 2019).
struct tensor_sign {
  static constexpr std::string_view name = "tensor_sign";
  static constexpr int block = 4096;                                   // elements of a chunk
  static constexpr diloco::compressor_traits traits{.scratch = true};  // not lossless, so there is a residual
  static constexpr float largest = 0x1p96f;     // a larger magnitude is an error; sums of these are finite
  static constexpr float smallest = 0x1p-126f;  // a smaller tensor loses its precision
  static constexpr std::array stages{diloco::stage::fused, diloco::stage::whole};
  // Bytes of a chunk's codes, bytes per tensor, and bytes of scratch between stages.
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return (n + 7) / 8; }
  static constexpr std::size_t slice_bytes(std::size_t, std::size_t) { return sizeof(float); }
  static constexpr std::size_t scratch_bytes(std::size_t n, std::size_t) { return n / block * 4 + 4; }

  template <int Stage, diloco::lanes L>
  DILOCO_HD void encode(L l, diloco::slice const& s, std::size_t chunk) const {
    auto* const sums = reinterpret_cast<float*>(s.scratch);
    auto const n = static_cast<std::size_t>(s.count(chunk));
    float const* const x = s.chunk_x(chunk);
    if constexpr (Stage == 0) {  // each chunk, as soon as x is computed
      for (auto b = static_cast<std::size_t>(L::rank()); 8 * b < n; b += L::width) {
        unsigned byte = 0;
        for (std::size_t i = 8 * b; i < 8 * b + 8 && i < n; ++i) byte |= (x[i] < 0 ? 1u : 0u) << i % 8;
        s.code(chunk)[b] = static_cast<std::byte>(byte);
      }
      float const sum = diloco::ordered_sum(l, n, [&](std::size_t i) { return std::fabs(x[i]); });
      if (L::rank() == 0) sums[chunk] = sum;
    } else {  // once per tensor
      float const sum = diloco::ordered_sum(l, s.chunks(), [&](std::size_t j) { return sums[j]; });
      if (L::rank() == 0) *reinterpret_cast<float*>(s.side) = sum / static_cast<float>(s.elements);
    }
  }
  template <diloco::lanes L>
  DILOCO_HD void decode(L, diloco::slice_view const& s, std::size_t chunk, float c, float* g) const {
    float const scale = diloco::finite_or_zero(*reinterpret_cast<float const*>(s.side));
    for (int i = L::rank(); i < s.count(chunk); i += L::width) {
      bool const negative = (static_cast<unsigned>(s.code(chunk)[i / 8]) >> i % 8 & 1u) != 0;
      g[i] = diloco::fma(c, negative ? -scale : scale, g[i]);
    }
  }
};
// [/compressor]

int main() {
  double reached[4] = {};
  diloco::run_threads(4, [&](diloco::threads transport) {
    int const rank = transport.rank();
    std::vector<float> x(10000), gradient(x.size());
    diloco::DiLoCo trainer(diloco::recipe<>{}
                               .with_inner(diloco::plain_sgd{.lr = 0.05f})
                               .with_outer(diloco::plain_sgd{.lr = 0.7f})
                               .with_compressor(tensor_sign{})
                               .with_transport(std::move(transport))
                               .with_schedule(diloco::every(5)),
                           std::vector<diloco::tensor>{{"x", {100, 100}, x.data()}});
    if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
    for (int step = 0; step < 1000; ++step) {
      for (std::size_t i = 0; i < x.size(); ++i)
        gradient[i] = x[i] - std::sin(static_cast<float>(i) + 0.1f * float(rank));
      trainer.step(std::vector<std::span<float const>>{gradient});
    }
    for (std::size_t i = 0; i < x.size(); ++i) {
      double mean = 0;  // the common target of all workers
      for (int k = 0; k < 4; ++k) mean += std::sin(static_cast<double>(i) + 0.1 * k) / 4;
      reached[rank] += std::pow(static_cast<double>(x[i]) - mean, 2) / 1e4;
    }
  });
  std::printf("one bit per element: %.4f from the optimum, root mean square\n", std::sqrt(reached[0]));
  return std::sqrt(reached[0]) < 0.05 ? 0 : 1;
}
