// SPDX-License-Identifier: Apache-2.0
// The three sweeps on a device, each against a copy in the same run. This is bench/sweep.cpp for a GPU.
#include "device.cuh"

#include <array>

namespace {

using namespace diloco;
using bench::size;

template <element_optimizer O>
void inner_step(benchmark::State& state, size s) {
  auto const n = static_cast<double>(s.n);
  if (!bench::fits(state, n * 4.0 * (2 + static_cast<double>(slot_count<O>)))) return;
  bench::stepping<cuda_stream, O> const step(s.n);
  bench::against_copy(state, s.n, inner_step_bytes<O>, step);
}

template <compressor C>
void sweep_a(benchmark::State& state, size s) {
  if (!bench::fits(state, static_cast<double>(s.n) * (encode_bytes<C, error_feedback> + 4))) return;
  bench::plane<cuda_stream, C> p(s.n);
  bench::encoding<cuda_stream, C, error_feedback> encode{p, p.wire()};
  bench::against_copy(state, s.n, encode_bytes<C, error_feedback>, encode);
}

template <compressor C>
void sweep_b(benchmark::State& state, size s, int contributors) {
  if (!bench::fits(state, static_cast<double>(s.n) * (24 + contributors * wire_bytes_per_parameter<C>)))
    return;
  bench::applying<cuda_stream, C> const apply(s.n, contributors);
  bench::against_copy(state, s.n, apply_outer_bytes<C, nesterov>(contributors), apply);
}

template <element_optimizer O>
void add_inner() {
  for (size s : bench::sizes)
    bench::add("inner_step/" + std::string(O::name) + "/N:" + s.name,
               [s](benchmark::State& b) { inner_step<O>(b, s); });
}

void copy(benchmark::State& state) {
  if (!bench::fits(state, 2.0 * bench::copy_roof::bytes)) return;
  bench::buffer const to = cuda_stream{}.allocate(bench::copy_roof::bytes),
                      from = cuda_stream{}.allocate(bench::copy_roof::bytes);
  bench::against_copy(state, bench::copy_roof::bytes / 4, 8, [&] {
    bench::check(
        cudaMemcpyAsync(to.data(), from.data(), bench::copy_roof::bytes, cudaMemcpyDeviceToDevice, nullptr),
        "copy");
  });
}

void register_all() {
  bench::add("copy/N:2^28", copy);
  add_inner<adamw>();
  add_inner<sgd>();
  add_inner<lion>();
  auto const both = []<class C>(C, auto const& sizes) {
    std::string const name(C::name);
    for (size s : sizes) {
      bench::add("sweep_a/" + name + "/N:" + s.name, [s](benchmark::State& b) { sweep_a<C>(b, s); });
      for (int k : {1, 2, 8}) {
        bench::add("sweep_b/" + name + "/K:" + std::to_string(k) + "/N:" + s.name,
                   [s, k](benchmark::State& b) { sweep_b<C>(b, s, k); });
      }
    }
  };
  bench::for_common_compressors([&](auto c) { both(c, bench::sizes); });
  bench::for_other_compressors(
      [&](auto c) { both(c, std::array{bench::sizes[0]}); });  // all sizes would take minutes
}

}  // namespace

int main(int argc, char** argv) { return bench::run_on_device(argc, argv, register_all); }
