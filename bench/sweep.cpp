// SPDX-License-Identifier: Apache-2.0
// The three sweeps over one flat tensor of 2^24 parameters, each against the triad of the same run: bytes per parameter
// from the traffic constants, and the share of the memory limit that they reach.
#include <diloco/diloco.hpp>
#if defined(_OPENMP)
#include <diloco/executor/omp.hpp>
#endif

#include "triad.hpp"

#include <cmath>

namespace {

using namespace diloco;
constexpr std::size_t n = std::size_t{1} << 24;

/// Columns, tiles and wires of one flat tensor, as the engine lays them out.
template <class Executor, compressor C>
struct plane {
  std::vector<float> theta = std::vector<float>(n, 0.5f);
  layout l = *layout::of(std::vector<tensor>{{"flat", {n}, theta.data()}}, C::block);
  wire_plan plan = wire_plan::of<C>(l, 1);
  float* rows[1] = {theta.data()};
  table t;
  Executor executor;
  std::vector<buffer> wires;

  float* column(char const* name) {
    float* c = t.add(executor, name, n);
    for (std::size_t i = 0; i < n; ++i) c[i] = 0.5f + 1e-3f * std::sin(static_cast<float>(i) * 0.7f);
    return c;
  }
  std::byte* wire() {
    wires.push_back(executor.allocate_wire(plan.slot_bytes()));
    return wires.back().data();
  }
};

template <class Executor, element_optimizer O>
void inner_step(benchmark::State& state) {
  plane<Executor, f32> p;
  O const optimizer{};
  auto const step = optimizer.at({100, 1.0f});
  float const* gradients[1] = {p.column("gradient")};
  inner_step_kernel<std::remove_const_t<decltype(step)>, slot_count<O>> kernel{step,   1.0f,      p.l.tiles().data(),
                                                                               p.rows, gradients, {}};
  for (auto& slot : kernel.slots) slot = slot_count<O> == 0 ? nullptr : p.column("slot");
  bench::against_triad<Executor>(state, n, inner_step_bytes<O>,
                                 [&] { p.executor.for_each(p.l.tiles().size(), kernel); });
}

template <class Executor, compressor C>
auto encoder(plane<Executor, C>& p, std::byte* wire, std::uint32_t* bad) {
  float* const residual = C::lossless ? nullptr : p.column("residual");
  float* const next = C::lossless ? nullptr : p.column("residual.next");
  if (residual != nullptr) std::fill_n(residual, n, 0.0f);
  return encode_kernel<C, error_feedback>{{},     error_feedback{}.at(0), p.l.tiles().data(),
                                          p.rows, p.column("anchor"),     {residual, next, n},
                                          wire,   p.plan.slot_bytes(),    bad,
                                          {}};
}

template <class Executor, compressor C>
void sweep_a(benchmark::State& state) {
  plane<Executor, C> p;
  std::uint32_t bad = frame::no_row;
  auto const kernel = encoder(p, p.wire(), &bad);
  bench::against_triad<Executor>(state, n, encode_bytes<C, error_feedback>,
                                 [&] { p.executor.for_each(p.l.tiles().size(), kernel); });
}

template <class Executor, compressor C>
void sweep_b(benchmark::State& state) {
  plane<Executor, C> p;
  int const voices = static_cast<int>(state.range(0));
  std::uint32_t bad = frame::no_row;
  std::vector<std::byte const*> wires;
  for (int k = 0; k < voices; ++k) wires.push_back(p.wire());
  auto const fill = encoder(p, p.wires[0].data(), &bad);
  p.executor.for_each(p.l.tiles().size(), fill);
  for (auto& w : p.wires) std::memcpy(w.data(), p.wires[0].data(), w.size());
  std::vector<float> const coefficients(wires.size(), 1e-3f);
  auto const step = nesterov{}.at({1, 1.0f});
  apply_outer_kernel<C, nesterov::step, 1> kernel{{{}, wires.data(), coefficients.data(), voices, false},
                                                  step,
                                                  0.0f,
                                                  p.l.tiles().data(),
                                                  p.rows,
                                                  p.column("anchor"),
                                                  {p.column("momentum")}};
  bench::against_triad<Executor>(state, n, apply_outer_bytes<C, nesterov>(voices),
                                 [&] { p.executor.for_each(p.l.tiles().size(), kernel); });
}

template <class Executor>
void register_all(std::string const& on) {
  auto const add = [&](std::string const& name, auto* function) {
    return benchmark::RegisterBenchmark((name + "/" + on).c_str(), function)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
  };
  add("inner_step/adamw", inner_step<Executor, adamw>);
  add("inner_step/sgd", inner_step<Executor, sgd>);
  add("inner_step/plain_sgd", inner_step<Executor, plain_sgd>);
  add("inner_step/lion", inner_step<Executor, lion>);
  auto const both = [&]<class C>(C) {
    std::string const name(C::name);
    add("sweep_a/" + name, sweep_a<Executor, C>);
    add("sweep_b/" + name + "/K", sweep_b<Executor, C>)->Arg(2)->Arg(8);
  };
  both(f32{});
  both(f16{});
  both(scaled_f16<>{});
  both(bf16{});
  both(absmax<8>{});
  both(min_max<8>{});
  both(e4m3<>{});
  both(e5m2<>{});
  both(dynamic8<>{});
  both(mxfp8{});
  both(mxfp6{});
  both(absmax<4>{});
  both(e2m1<>{});
  both(e3m0<>{});
  both(mxfp4{});
  both(nvfp4{});
  both(lloyd_max<4>{});
  both(hadamard<32, absmax<4>>{});
  both(qsgd<4>{});
  both(absmax<2>{});
  both(lloyd_max<2>{});
  both(sign<>{});
  both(natural<>{});
}

}  // namespace

int main(int argc, char** argv) {
  register_all<cpp>("1thread");
#if defined(_OPENMP)
  register_all<omp>("omp");
#endif
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
