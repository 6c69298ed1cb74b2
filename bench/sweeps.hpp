// SPDX-License-Identifier: Apache-2.0
// The three sweeps alone, on any executor, over one flat tensor laid out as in a trainer. sweep.cpp times
// them on the host, cuda/sweep.cu on a device. Each call runs the sweep once.
#pragma once

#include <diloco/diloco.hpp>

#include <cstring>
#include <string>
#include <vector>

namespace bench {

using namespace diloco;

/// Copies from the host to the memory of an executor's columns. cuda/device.cuh has the version for a device.
template <class Executor>
struct columns_of {
  static void put(Executor const&, void* to, void const* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
  }
};

/// ½ + spread · (½ + a bell of deviation 209). It has no exact zeros, because these would take a different
/// path. Its shape is that of pseudo-gradients near 0, because the work of top_k depends on it.
struct fill_kernel {
  static constexpr std::size_t run = 4096;
  float* to;
  std::size_t n;
  float spread;
  template <lanes L>
  DILOCO_HD void operator()(L, std::size_t tile) const {
    std::size_t const end = n < (tile + 1) * run ? n : (tile + 1) * run;
    for (std::size_t i = tile * run + static_cast<std::size_t>(L::rank()); i < end; i += L::width) {
      std::uint64_t const h = mix64(i, 1);
      float sum = 0.5f;
      for (int byte = 0; byte < 64; byte += 8) sum += static_cast<float>(h >> byte & 0xffu) - 127.5f;
      to[i] = 0.5f + spread * sum;
    }
  }
};

/// Columns, tiles and messages of one flat tensor.
template <class Executor, compressor C>
class plane {
 public:
  explicit plane(std::size_t elements, Executor where = {}) : executor(where), n(elements) {}
  plane(plane const&) = delete;
  plane& operator=(plane const&) = delete;

  float* column() { return filled(5e-6f); }
  float* zeros(std::size_t elements) {
    if (elements == 0) return nullptr;
    held_.push_back(executor.allocate(elements * sizeof(float)));
    return held_.back().template as<float>();
  }
  std::byte* wire() {
    held_.push_back(executor.allocate(plan.slot_bytes()));
    return held_.back().data();
  }
  /// A copy of host data in the memory that suits the sweeps best.
  template <class T>
  T const* there(std::vector<T> const& from) {
    held_.push_back(executor.allocate(from.size() * sizeof(T)));
    put(held_.back().data(), from.data(), from.size() * sizeof(T));
    return held_.back().template as<T>();
  }
  void put(void* to, void const* from, std::size_t bytes) const {
    columns_of<Executor>::put(executor, to, from, bytes);
  }
  float const* constants() {
    std::vector<float> c(constant_elements_of<C> + 1);
    if constexpr (constant_elements_of<C> != 0) C::write_constants(c.data());
    return there(c);
  }
  /// A word that host and device can access.
  std::uint32_t* word(std::uint32_t value) {
    held_.push_back(executor.allocate_wire(sizeof value));
    *held_.back().template as<std::uint32_t>() = value;
    return held_.back().template as<std::uint32_t>();
  }
  /// The compressor's memory at the beginning of a round. If ranks agree on it, it is that of the first
  /// round.
  float* memory(std::uint64_t round) {
    float* const m = zeros(plan.memory_elements());
    if constexpr (agrees_on_memory<C>) {
      received_wires<C> nothing{};
      nothing.slices = slices;
      nothing.stream.round = round;
      executor.for_each(plan.slices().size(), agree_kernel<C>{nothing, m});
    }
    return m;
  }
  [[nodiscard]] std::size_t tile_count() const { return l.tiles().size(); }

  Executor executor;
  std::size_t n;

 private:
  std::vector<buffer> held_{};  // before what lies in it

 public:
  float* theta = filled(0);
  layout l = *layout::of(std::vector<tensor>{{.name = "flat", .shape = {4096, n / 4096}, .data = theta}},
                         C::block, states_stages<C>);
  wire_plan plan = wire_plan::of<C>(l, 1);

 private:
  float* filled(float spread) {
    float* const c = zeros(n);
    executor.for_each((n + fill_kernel::run - 1) / fill_kernel::run, fill_kernel{c, n, spread});
    return c;
  }

 public:
  tile const* tiles = there(l.tiles());
  float* const* rows = there(std::vector<float*>{theta});
  slice_record const* slices = plan.slices().empty() ? nullptr : there(plan.slices());
};

/// The inner step without the trainer's checks.
template <class Executor, element_optimizer O>
class stepping {
 public:
  explicit stepping(std::size_t n, Executor where = {}) : p(n, where) {
    for (auto& slot : kernel_.slots) slot = slot_count<O> == 0 ? nullptr : p.column();
  }
  void operator()() const { p.executor.for_each(p.tile_count(), kernel_); }

  plane<Executor, f32> p;

 private:
  using step_type = std::remove_const_t<decltype(std::declval<O const&>().at(step_context{}))>;
  inner_step_kernel<step_type, slot_count<O>> kernel_{
      O{}.at({100, 1.0f}),
      1.0f,
      nullptr,
      p.tiles,
      p.rows,
      {p.there(std::vector<void const*>{p.column()}), p.there(std::vector<std::uint64_t>{0})},
      {},
      {}};
};

/// Sweep A with everything that it reads and writes.
template <class Executor, compressor C, feedback F>
class encoding {
  static constexpr bool remembers = carries_residual<C, F>;
  static constexpr int padding = padding_of<C>;

 public:
  encoding(plane<Executor, C>& over, std::byte* wire) : p_(over), wire_(wire) {}

  void operator()() {
    run();
    std::swap(memory_, next_memory_);
    round_ += 1;
  }

 private:
  void run() {
    auto const step = F{}.at(1);
    std::size_t const tiles = p_.tile_count();
    if constexpr (states_stages<C>) {
      stage_work<C> const work{{},
                               p_.tiles,
                               p_.slices,
                               workbench_ == nullptr ? residual_.to : workbench_,
                               0,
                               wire_,
                               p_.plan.slot_bytes(),
                               reinterpret_cast<std::byte*>(scratch_),
                               constants_,
                               memory_,
                               next_memory_,
                               {round_, 0, 0}};
      run_stages(p_.executor, work, stage_extent{tiles, 0, 1},
                 local_delta<F, padding>{step, p_.rows, anchor_, residual_, {}},
                 keeper<feedback_step<F>, residual_bits<F>, padding>{step, 0, residual_}, bad_, C::largest);
    } else {
      p_.executor.for_each(
          tiles,
          encode_kernel<C, F>{
              {}, step, p_.tiles, p_.rows, anchor_, residual_, wire_, p_.plan.slot_bytes(), bad_, {}, {}});
    }
  }
  plane<Executor, C>& p_;
  std::byte* wire_;
  std::size_t floats_ = remembers ? residual_columns<residual_bits<F>, padding>::floats(p_.n) : 0;
  residual_columns<residual_bits<F>, padding> residual_{p_.zeros(floats_), p_.zeros(floats_), p_.n};
  float* anchor_ = p_.column();
  float* workbench_ = p_.zeros(states_stages<C> && !(remembers && residual_bits<F> == 32) ? p_.n : 0);
  float* scratch_ = p_.zeros(p_.plan.scratch_bytes() / sizeof(float));
  float const* constants_ = p_.constants();
  std::uint64_t round_ = 0;
  float *memory_ = p_.memory(0), *next_memory_ = p_.memory(1);
  std::uint32_t* bad_ = p_.word(message_header::no_row);
};

/// Sweep B under Nesterov, with `contributors` equal messages.
template <class Executor, compressor C>
class applying {
 public:
  applying(std::size_t n, int contributors) : p(n) {
    std::vector<std::byte*> wires;
    for (int k = 0; k < contributors; ++k) wires.push_back(p.wire());
    encoding<Executor, C, no_feedback>{p, wires[0]}();
    for (std::byte* other : wires) {
      if (other != wires[0]) p.put(other, wires[0], p.plan.slot_bytes());
    }
    std::vector<float> const coefficients(wires.size(), 1e-3f);
    received_.wire = p.there(std::vector<std::byte const*>(wires.begin(), wires.end()));
    received_.coefficient = p.there(coefficients);
    received_.contributors = contributors;
    if constexpr (states_stages<C>) {
      received_.slices = p.slices;
      received_.constants = p.constants();
      received_.sums = p.zeros(n);
      received_.memory = p.memory(0);
      next_memory_ = p.zeros(p.plan.memory_elements());
    }
    kernel_ = {received_, nesterov{}.at({1, 1.0f}), 0.0f, p.tiles, p.rows, anchor_, {p.column()}};
  }
  void operator()() const {
    first(p.tile_count(), 1);
    if constexpr (agrees_on_memory<C>)
      p.executor.for_each(p.plan.slices().size(), agree_kernel<C>{received_, next_memory_});
  }
  /// The kernel alone, over the first `tiles` tiles again and again.
  void first(std::size_t tiles, int times) const {
    for (int k = 0; k < times; ++k) p.executor.for_each(tiles, kernel_);
  }

  plane<Executor, C> p;

 private:
  float* anchor_ = p.column();
  received_wires<C> received_{};
  float* next_memory_ = nullptr;
  apply_outer_kernel<C, nesterov::step, 1> kernel_{};
};

/// f(C{}) for the compressors that recipes use. cuda/sweep.cu measures the others at one size.
template <class F>
void for_common_compressors(F&& f) {
  f(f32{});
  f(f16{});
  f(bf16{});
  f(absmax<8>{});
  f(absmax<4>{});
  f(e4m3<>{});
  f(e3m0<>{});
  f(e2m1<>{});
  f(sign<>{});
  f(mxfp8{});
  f(nvfp4{});
  f(top_k<64>{});
}
template <class F>
void for_other_compressors(F&& f) {
  f(scaled_f16<>{});
  f(min_max<8>{});
  f(e5m2<>{});
  f(dynamic8<>{});
  f(mxfp6{});
  f(mxfp4{});
  f(lloyd_max<4>{});
  f(hadamard<32, absmax<4>>{});
  f(qsgd<4>{});
  f(absmax<2>{});
  f(lloyd_max<2>{});
  f(natural<>{});
  f(top_k<128>{});
  f(top_k<64, kept_as::f16>{});
  f(dct_top_k<32>{});
  f(random_k<64>{});
  f(statistical<4>{});
  f(statistical<16>{});
  f(statistical<256>{});
  f(low_rank<4>{});
  f(low_rank<4, factors::common>{});
}

}  // namespace bench
