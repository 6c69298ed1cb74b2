// SPDX-License-Identifier: Apache-2.0
// Compressors alone, on 2^20 Gaussian numbers that stay in L2: speed of the code, bits per parameter,
// relative squared error and cosine. bench/sweep measures their cost inside the sweeps, where memory is the
// limit.
#include <benchmark/benchmark.h>
#include <diloco/diloco.hpp>

#include <cmath>
#include <random>

namespace {

using namespace diloco;
constexpr std::size_t n = std::size_t{1} << 20;

std::vector<float> const& input() {
  static std::vector<float> const x = [] {
    std::mt19937 source(1);
    std::normal_distribution<float> gauss(0.0f, 1e-3f);
    std::vector<float> v(n);
    for (float& each : v) each = gauss(source);
    return v;
  }();
  return x;
}

template <compressor C>
struct wire {
  static constexpr std::size_t blocks = n / static_cast<std::size_t>(C::block);
  std::vector<std::byte> code = std::vector<std::byte>(blocks * C::code_bytes(C::block));
  std::vector<std::byte> side = std::vector<std::byte>(blocks * C::side_bytes + 4);
  wire_block at(std::size_t b) {
    return {code.data() + b * C::code_bytes(C::block), side.data() + b * C::side_bytes};
  }

  void encode() {
    for (std::size_t b = 0; b < blocks; ++b) {
      lane_block<solo, C::block> x;
      float const* from = input().data() + b * static_cast<std::size_t>(C::block);
      std::uint32_t magnitude = 0;
      for (int i = 0; i < C::block; ++i) {
        x.v[i] = from[i];
        magnitude = larger(magnitude, magnitude_bits(x.v[i]));
      }
      C{}.encode(solo{}, x, block_info{C::block, float_of(magnitude)}, at(b));
    }
  }
  void decode(float* to) {
    for (std::size_t b = 0; b < blocks; ++b) {
      float* DILOCO_RESTRICT y = to + b * static_cast<std::size_t>(C::block);
      wire_block const w = at(b);
      C{}.decode(solo{}, C::block, wire_block_view{w.code, w.side}, [&](int i, float v) { y[i] += v; });
    }
  }
};

void count(benchmark::State& state) {
  state.counters["params/s"] =
      benchmark::Counter(static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate);
}

template <compressor C>
void encode(benchmark::State& state) {
  wire<C> w;
  for (auto _ : state) {
    w.encode();
    benchmark::ClobberMemory();
  }
  std::vector<float> y(n, 0.0f);
  w.decode(y.data());
  double lost = 0, all = 0, kept = 0, both = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double const x = static_cast<double>(input()[i]), v = static_cast<double>(y[i]);
    lost += (x - v) * (x - v);
    all += x * x;
    kept += v * v;
    both += x * v;
  }
  count(state);
  state.counters["bits/param"] = wire_bits<C>;
  state.counters["error"] = lost / all;
  state.counters["cosine"] = both / std::sqrt(all * kept);
}

template <compressor C>
void decode_and_add(benchmark::State& state) {
  wire<C> w;
  w.encode();
  std::vector<float> y(n, 0.0f);
  for (auto _ : state) {
    w.decode(y.data());
    benchmark::ClobberMemory();
  }
  count(state);
}

template <compressor... C>
void register_each() {
  auto const add = [](std::string const& name, auto* function) {
    benchmark::RegisterBenchmark(name.c_str(), function)->Unit(benchmark::kMicrosecond);
  };
  ((add("encode/" + std::string(C::name), encode<C>),
    add("decode_and_add/" + std::string(C::name), decode_and_add<C>)),
   ...);
}

}  // namespace

int main(int argc, char** argv) {
  register_each<f32, f16, scaled_f16<>, bf16, absmax<8>, absmax<8, 128>, min_max<8>, e4m3<>, e5m2<>,
                dynamic8<>, mxfp8, mxfp6, absmax<4>, absmax<4, 128>, min_max<4>, e2m1<>, e3m0<>, mxfp4, nvfp4,
                lloyd_max<4>, qsgd<4>, hadamard<32, absmax<4, 128>>, lloyd_max<3>, absmax<2>, lloyd_max<2>,
                sign<>, sign<512>, natural<>>();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
