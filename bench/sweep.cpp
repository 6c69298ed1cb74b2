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
  layout l = *layout::of(std::vector<tensor>{{"flat", {4096, n / 4096}, theta.data()}}, C::block,
                         states_stages<C> ? staged_padding : 0);
  wire_plan plan = wire_plan::of<C>(l, 1);
  float* rows[1] = {theta.data()};
  table t;
  Executor executor;
  std::vector<buffer> wires;

  float* column(char const* name) {
    float* c = t.add(executor, name, n);
    // Bell-shaped around ½, as pseudo-gradients are around 0: what top_k must look at depends on it.
    for (std::size_t i = 0; i < n; ++i) {
      std::uint64_t const h = mix64(i, 1);
      float sum = 0;
      for (int byte = 0; byte < 64; byte += 8) sum += static_cast<float>(h >> byte & 0xffu) - 127.5f;
      c[i] = 0.5f + 5e-6f * sum;
    }
    return c;
  }
  float* zeros(std::size_t elements) { return t.add(executor, "zeros", elements); }
  float const* constants() {
    static buffer const b = [] {
      buffer to = Executor{}.allocate_wire((constant_elements_of<C> + 1) * sizeof(float));
      if constexpr (constant_elements_of<C> != 0) C::write_constants(to.template as<float>());
      return to;
    }();
    return b.template as<float>();
  }
  /// What is remembered at the beginning of a round; where all agree on it, as if that were the first.
  float* memory(std::uint64_t round) {
    float* const m = zeros(plan.memory_elements());
    if constexpr (agrees_on_memory<C>) {
      received_wires<C> nothing{};
      nothing.slices = plan.slices().data();
      nothing.who.round = round;
      executor.for_each(plan.slices().size(), agree_kernel<C>{nothing, m});
    }
    return m;
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
  void const* gradients[1] = {p.column("gradient")};
  std::uint64_t const is_bf16[1] = {0};
  inner_step_kernel<std::remove_const_t<decltype(step)>, slot_count<O>> kernel{
      step, 1.0f, nullptr, p.l.tiles().data(), p.rows, {gradients, is_bf16}, {}, {}};
  for (auto& slot : kernel.slots) slot = slot_count<O> == 0 ? nullptr : p.column("slot");
  bench::against_triad<Executor>(state, n, inner_step_bytes<O>,
                                 [&] { p.executor.for_each(p.l.tiles().size(), kernel); });
}

/// An optimizer over whole tensors on one of them, in turn with `Other` of float32 slots: %time is its time of the other's.
template <class Executor, tensor_optimizer O, element_optimizer Other>
void whole_step(benchmark::State& state) {
  plane<Executor, f32> p;
  layout::row const& row = p.l.rows()[0];
  std::size_t const columns = row.columns(), rows = row.size / columns;
  float const* const g = p.column("gradient");
  float* const memory = p.zeros(memory_elements_of<O>(rows, columns));
  float* const scratch = p.zeros(O::scratch_elements(rows, columns));
  auto const other = Other{}.at({100, 1.0f});
  void const* gradients[1] = {g};
  std::uint64_t const is_bf16[1] = {0};
  inner_step_kernel<std::remove_const_t<decltype(other)>, slot_count<Other>> kernel{
      other, 1.0f, nullptr, p.l.tiles().data(), p.rows, {gradients, is_bf16}, {}, {}};
  for (auto& slot : kernel.slots) slot = p.zeros(n);
  float const one = 1.0f;
  std::vector<double> ratios;
  double const bytes = 12.0 + 8.0 * static_cast<double>(memory_elements_of<O>(rows, columns)) / static_cast<double>(n);
  bench::against_triad<Executor>(
      state, n, bytes,
      [&] {
        O{}.step(p.executor, tensor_step<0>{rows, columns, p.theta.data(), g, &one, {}, memory, scratch, {100, 1.0f}});
      },
      [&](double seconds) {
        ratios.push_back(100.0 * seconds / bench::seconds_of([&] { p.executor.for_each(p.l.tiles().size(), kernel); }));
      });
  state.counters["%time"] = bench::median(ratios);
}

/// Sweep A with all that it reads and writes; called, it runs once.
template <class Executor, compressor C, feedback F>
struct encoding {
  static constexpr bool remembers = carries_residual<C, F>;
  static constexpr int padding = padding_of<C>;
  plane<Executor, C>& p;
  std::byte* wire;
  residual_columns<residual_bits<F>, padding> residual{p.zeros(remembers ? residual.floats(n) : 0),
                                                       p.zeros(remembers ? residual.floats(n) : 0), n};
  float* anchor = p.column("anchor");
  float* workbench = p.zeros(states_stages<C> && !(remembers && residual_bits<F> == 32) ? n : 0);
  float* scratch = p.zeros(p.plan.scratch_bytes() / sizeof(float));
  std::uint64_t round = 0;
  float *memory = p.memory(0), *next_memory = p.memory(1);
  std::uint32_t bad = frame::no_row;

  void operator()() {
    run();
    std::swap(memory, next_memory);
    round += 1;
  }

 private:
  void run() {
    auto const step = F{}.at(1);
    std::size_t const tiles = p.l.tiles().size();
    if constexpr (states_stages<C>) {
      stage_work<C> const work{{},
                               p.l.tiles().data(),
                               p.plan.slices().data(),
                               workbench == nullptr ? residual.to : workbench,
                               0,
                               wire,
                               p.plan.slot_bytes(),
                               reinterpret_cast<std::byte*>(scratch),
                               p.constants(),
                               memory,
                               next_memory,
                               {round, 0, 0}};
      run_stages(p.executor, work, stage_extent{tiles, 0, 1}, local_delta<F, padding>{step, p.rows, anchor, residual},
                 keeper<feedback_step<F>, residual_bits<F>, padding>{step, 0, residual}, &bad);
    } else {
      p.executor.for_each(
          tiles, encode_kernel<C, F>{
                     {}, step, p.l.tiles().data(), p.rows, anchor, residual, wire, p.plan.slot_bytes(), &bad, {}});
    }
  }
};

template <class Executor, compressor C, feedback F>
void sweep_a(benchmark::State& state) {
  plane<Executor, C> p;
  encoding<Executor, C, F> encode{p, p.wire()};
  bench::against_triad<Executor>(state, n, encode_bytes<C, F>, encode);
}

template <class Executor, compressor C>
void sweep_b(benchmark::State& state) {
  plane<Executor, C> p;
  int const voices = static_cast<int>(state.range(0));
  std::vector<std::byte const*> wires;
  for (int k = 0; k < voices; ++k) wires.push_back(p.wire());
  encoding<Executor, C, no_feedback>{p, p.wires[0].data()}();
  for (auto& w : p.wires) std::memcpy(w.data(), p.wires[0].data(), w.size());
  std::vector<float> const coefficients(wires.size(), 1e-3f);
  auto const step = nesterov{}.at({1, 1.0f});
  received_wires<C> received{};
  received.wire = wires.data();
  received.coefficient = coefficients.data();
  received.voices = voices;
  if constexpr (states_stages<C>) {
    received.slices = p.plan.slices().data();
    received.constants = p.constants();
    received.sums = p.zeros(n);
    received.memory = p.memory(0);
  }
  [[maybe_unused]] float* const next_memory = p.zeros(p.plan.memory_elements());
  apply_outer_kernel<C, nesterov::step, 1> kernel{
      received, step, 0.0f, p.l.tiles().data(), p.rows, p.column("anchor"), {p.column("momentum")}};
  bench::against_triad<Executor>(state, n, apply_outer_bytes<C, nesterov>(voices), [&] {
    p.executor.for_each(p.l.tiles().size(), kernel);
    if constexpr (agrees_on_memory<C>)
      p.executor.for_each(p.plan.slices().size(), agree_kernel<C>{received, next_memory});
  });
  // The compute roofline: the same kernel over four tiles again and again, which stay in L2.
  std::size_t const resident = 4, elements = resident * p.l.tiles()[0].count;
  int const times = 64;
  double least = 1;
  for (int trial = 0; trial < 5; ++trial) {
    double const seconds = bench::seconds_of([&] {
      for (int k = 0; k < times; ++k) p.executor.for_each(resident, kernel);
    });
    least = std::min(least, seconds / times / static_cast<double>(elements));
  }
  state.counters["%compute"] =
      benchmark::Counter(100.0 * least * static_cast<double>(n), benchmark::Counter::kIsIterationInvariantRate);
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
  add("inner_step/schedule_free_adamw", inner_step<Executor, schedule_free_adamw>);
  add("inner_step/delayed_nesterov", inner_step<Executor, delayed_nesterov>);
  add("inner_step/fedyogi", inner_step<Executor, fedyogi>);
  add("inner_step/adamw8bit", whole_step<Executor, adamw8bit<>, adamw>);
  auto const both = [&]<class C>(C) {
    std::string const name(C::name);
    add("sweep_a/" + name, sweep_a<Executor, C, error_feedback>);
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
  both(top_k<64>{});
  both(top_k<128>{});
  both(top_k<64, kept_as::f16>{});
  both(dct_top_k<32>{});
  both(random_k<64>{});
  both(statistical<4>{});
  both(statistical<16>{});
  both(statistical<256>{});
  both(low_rank<4>{});
  both(low_rank<4, factors::common>{});
  add("sweep_a/absmax4/256+averaged_error", sweep_a<Executor, absmax<4>, averaged_error>);
  add("sweep_a/absmax4/256+ef21", sweep_a<Executor, absmax<4>, ef21>);
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
