// SPDX-License-Identifier: Apache-2.0
// The same AdamW step and the same local outer step (8 bits, error feedback, Nesterov), written in the usual
// way with Thrust. Each formula is a transform over whole columns. Nothing is fused, and nothing is
// synchronized in between.
// The bandwidth counts the bytes of the fused sweeps, so that %copy can be compared with theirs. `parts_B`
// counts the bytes that the parts move.
#include "device.cuh"

#include <thrust/copy.h>
#include <thrust/execution_policy.h>
#include <thrust/functional.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/discard_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/iterator/zip_iterator.h>
#include <thrust/reduce.h>
#include <thrust/transform.h>
#include <thrust/tuple.h>

namespace {

using namespace diloco;
using bench::size;

/// a·x + b·y, element by element.
struct sum_of {
  float a, b;
  __device__ float operator()(float x, float y) const { return a * x + b * y; }
};
struct times {
  float a;
  __device__ float operator()(float x) const { return a * x; }
};
/// b·v + (1 − b)·g².
struct second_moment {
  float b;
  __device__ float operator()(float g, float v) const { return b * v + (1 - b) * g * g; }
};
struct adam_update {
  float lr_over_correction, v_correction, eps;
  __device__ float operator()(thrust::tuple<float, float, float> const& pmv) const {
    float const v = thrust::get<2>(pmv) * v_correction;
    return thrust::get<0>(pmv) - lr_over_correction * thrust::get<1>(pmv) / (sqrtf(v) + eps);
  }
};
struct block_of {
  __device__ unsigned operator()(std::size_t i) const { return static_cast<unsigned>(i / 256); }
};
struct magnitude {
  __device__ float operator()(float x) const { return fabsf(x); }
};
struct quantize {
  float const* amax;
  __device__ signed char operator()(float x, std::size_t i) const {
    float const most = amax[i / 256];
    return most > 0 ? static_cast<signed char>(rintf(x * (127 / most))) : static_cast<signed char>(0);
  }
};
struct dequantize {
  float const* amax;
  __device__ float operator()(signed char q, std::size_t i) const {
    return static_cast<float>(q) * (1.0f / 127) * amax[i / 256];
  }
};

/// Temporary memory for reductions, from one allocation made in advance. cudaMalloc would synchronize.
class workspace {
 public:
  using value_type = char;
  explicit workspace(std::size_t bytes) : memory_(cuda_stream{}.allocate(bytes)) {}
  char* allocate(std::ptrdiff_t bytes) {
    std::size_t const at = used_;
    used_ += (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
    if (used_ > memory_.size()) throw std::bad_alloc();
    live_ += 1;
    return reinterpret_cast<char*>(memory_.data()) + at;
  }
  void deallocate(char*, std::size_t) {
    if (--live_ == 0) used_ = 0;
  }

 private:
  buffer memory_;
  std::size_t used_ = 0;
  int live_ = 0;
};

void adamw_by_parts(benchmark::State& state, size s) {
  std::size_t const n = s.n;
  if (!bench::fits(state, static_cast<double>(n) * 16)) return;
  bench::plane<cuda_stream, f32> memory(n);
  float *p = memory.theta, *m = memory.column(), *v = memory.column();
  float const* const g = memory.column();
  adamw const o{};
  float const m_correction = 1 / (1 - std::pow(o.beta1, 100.0f)),
              v_correction = 1 / (1 - std::pow(o.beta2, 100.0f));
  auto const on = thrust::cuda::par_nosync;
  bench::against_copy(state, n, inner_step_bytes<adamw>, [&] {
    thrust::transform(on, p, p + n, p, times{1 - o.lr * o.weight_decay});  //  8 B
    thrust::transform(on, g, g + n, m, m, sum_of{1 - o.beta1, o.beta1});   // 12 B
    thrust::transform(on, g, g + n, v, v, second_moment{o.beta2});         // 12 B
    auto const pmv = thrust::make_zip_iterator(thrust::make_tuple(p, m, v));
    thrust::transform(on, pmv, pmv + static_cast<std::ptrdiff_t>(n), p,
                      adam_update{o.lr * m_correction, v_correction, o.eps});  // 16 B
  });
  state.counters["parts_B"] = 48;
}

/// A round of one worker: x = θ̄ − θ + e; absmax by blocks of 256; e = x − y; m = μ·m + y; θ̄ −= η·(y + μ·m);
/// θ = θ̄.
void outer_by_parts(benchmark::State& state, size s) {
  std::size_t const n = s.n, blocks = n / 256;
  if (!bench::fits(state, static_cast<double>(n) * 30)) return;
  bench::plane<cuda_stream, f32> memory(n);
  float *theta = memory.theta, *anchor = memory.column(), *m = memory.column(), *e = memory.zeros(n),
        *x = memory.zeros(n), *y = memory.zeros(n), *amax = memory.zeros(blocks);
  buffer const codes = cuda_stream{}.allocate(n);
  auto* const q = codes.as<signed char>();
  workspace temporary(std::size_t{1} << 28);
  auto const on = thrust::cuda::par_nosync(temporary);
  thrust::counting_iterator<std::size_t> const index(0);
  auto const keys = thrust::make_transform_iterator(index, block_of{});
  float const eta = 0.7f, mu = 0.9f;
  auto const round = [&] {
    thrust::transform(on, anchor, anchor + n, theta, x, sum_of{1, -1});  // 12 B
    thrust::transform(on, x, x + n, e, x, sum_of{1, 1});                 // 12 B
    thrust::reduce_by_key(on, keys, keys + static_cast<std::ptrdiff_t>(n),
                          thrust::make_transform_iterator(x, magnitude{}), thrust::make_discard_iterator(),
                          amax, thrust::equal_to<unsigned>{}, thrust::maximum<float>{});  //  4 B
    thrust::transform(on, x, x + n, index, q, quantize{amax});                            //  5 B
    thrust::transform(on, q, q + n, index, y, dequantize{amax});                          //  5 B
    thrust::transform(on, x, x + n, y, e, sum_of{1, -1});                                 // 12 B
    thrust::transform(on, y, y + n, m, m, sum_of{1, mu});                                 // 12 B
    thrust::transform(on, anchor, anchor + n, y, anchor, sum_of{1, -eta});                // 12 B
    thrust::transform(on, anchor, anchor + n, m, anchor, sum_of{1, -eta * mu});           // 12 B
    thrust::copy(on, anchor, anchor + n, theta);                                          //  8 B
  };
  bench::against_copy(
      state, n, encode_bytes<absmax<8>, error_feedback> + apply_outer_bytes<absmax<8>, nesterov>(1), round);
  state.counters["parts_B"] = 94;
}

void register_all() {
  for (size s : bench::sizes) {
    bench::add(std::string("thrust_by_parts/adamw/N:") + s.name,
               [s](benchmark::State& b) { adamw_by_parts(b, s); });
    bench::add(std::string("thrust_by_parts/local_outer/absmax8/N:") + s.name,
               [s](benchmark::State& b) { outer_by_parts(b, s); });
  }
}

}  // namespace

int main(int argc, char** argv) { return bench::run_on_device(argc, argv, register_all); }
