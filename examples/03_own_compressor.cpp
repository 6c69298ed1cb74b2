// SPDX-License-Identifier: Apache-2.0
// A compressor of your own: three values, −amax, 0 and +amax, in two bits. What one round cannot send stays
// in the residual and is sent in a later one. Without a residual, small elements would never be sent.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

// [compressor]
/// x → the nearest of {−1, 0, 1}·amax, with 2 bits per element and one scale per block.
struct ternary {
  static constexpr std::string_view name = "ternary";
  static constexpr int block = 256;                     // elements that share a scale
  static constexpr diloco::compressor_traits traits{};  // not lossless, so there is a residual
  static constexpr float largest = 3.4028235e38f;  // a larger magnitude is an error; values never saturate
  static constexpr float smallest = 0x1p-126f;     // below it a block loses precision
  static constexpr std::size_t side_bytes = sizeof(float);  // per block, in addition to the codes
  DILOCO_HD static constexpr std::size_t code_bytes(std::size_t n) { return (n + 3) / 4; }

  // The lanes own the block together (one thread on the host, 32 on a GPU). Each packs the elements that it
  // holds.
  template <diloco::lanes L>
  DILOCO_HD void encode(L l, diloco::lane_block<L, block> const& x, diloco::block_info info,
                        diloco::wire_block out) const {
    if (L::rank() == 0) *reinterpret_cast<float*>(out.side) = info.amax;
    diloco::pack<2, block>(l, info.count, out.code, [&](int i) { return digit(x.v[i], info.amax / 2); });
  }

  template <diloco::lanes L, class Sink>
  DILOCO_HD void decode(L l, int count, diloco::wire_block_view in, Sink&& sink) const {
    float const amax = *reinterpret_cast<float const*>(in.side);
    diloco::unpack<2, block>(l, count, in.code, [&](int i, std::uint32_t top) {  // the code in the top 2 bits
      sink(i, static_cast<float>(static_cast<int>(top >> 30) - 1) * amax);
    });
  }

 private:
  DILOCO_HD static unsigned digit(float x, float threshold) {
    return 1u + (x > threshold) - (x < -threshold);
  }
};
// [/compressor]

/// On even elements the workers pull hard in opposite directions. On odd ones all have the same target.
/// Returns the values that the odd ones reach.
double train(auto feedback) {
  double reached[4] = {};
  diloco::run_threads(4, [&](diloco::threads transport) {
    int const rank = transport.rank();
    std::vector<float> x(10000), gradient(x.size());
    diloco::DiLoCo trainer(diloco::recipe<>{}
                               .with_inner(diloco::plain_sgd{.lr = 0.02f})
                               .with_outer(diloco::plain_sgd{.lr = 0.7f})
                               .with_compressor(ternary{})
                               .with_feedback(feedback)
                               .with_transport(std::move(transport))
                               .with_schedule(diloco::every(5)),
                           std::vector<diloco::tensor>{{"x", {100, 100}, x.data()}});
    if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
    for (int step = 0; step < 1000; ++step) {
      for (std::size_t i = 0; i < x.size(); i += 2) gradient[i] = x[i] - (rank < 2 ? -1.0f : 1.0f);
      for (std::size_t i = 1; i < x.size(); i += 2) gradient[i] = x[i] - static_cast<float>(i % 101) / 500.0f;
      trainer.step(std::vector<std::span<float const>>{gradient});
    }
    for (std::size_t i = 1; i < x.size(); i += 2) reached[rank] += static_cast<double>(x[i]) / 5000;
  });
  return reached[0];
}

int main() {
  double const with = train(diloco::error_feedback{}), without = train(diloco::no_feedback{});
  std::printf("on average the odd elements want 0.1 and reach %.4f with feedback, %.4f without\n", with,
              without);
  return std::abs(with - 0.1) < 0.005 && without == 0 ? 0 : 1;
}
