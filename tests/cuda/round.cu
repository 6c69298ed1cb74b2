// SPDX-License-Identifier: Apache-2.0
// Host bits = device bits: the same inner steps and rounds on a CUDA stream and on the host, for every compressor.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>

#include <doctest/doctest.h>

#include <vector>

namespace {

using namespace diloco;

constexpr std::size_t sizes[] = {1, 255, 256, 257, 4096, 9001};

float number(std::size_t i, int salt) {
  auto const h = mix64(static_cast<std::uint64_t>(salt) + 1, i + 1);
  return static_cast<float>(static_cast<std::int32_t>(h >> 32) >> 8) * 0x1p-23f;
}

/// Tensors and gradients where the executor can reach them, filled with the same numbers everywhere.
template <class Executor>
struct model {
  Executor executor;
  std::vector<buffer> memory;
  std::vector<tensor> parameters;
  std::vector<std::span<float const>> gradients;

  model() {
    for (std::size_t n : sizes) {
      parameters.push_back({"t" + std::to_string(n), {n}, filled(n, 1)});
      gradients.emplace_back(filled(n, 2), n);
    }
  }
  float* filled(std::size_t n, int salt) {
    std::vector<float> host(n);
    for (std::size_t i = 0; i < n; ++i) host[i] = number(i, salt);
    memory.push_back(executor.allocate(n * sizeof(float)));
    if constexpr (Executor::columns_on_host)
      std::copy(host.begin(), host.end(), memory.back().as<float>());
    else
      REQUIRE(cudaMemcpy(memory.back().data(), host.data(), n * sizeof(float), cudaMemcpyHostToDevice) == cudaSuccess);
    return memory.back().as<float>();
  }
};

template <class Executor, class Inner, class Outer, class Compressor>
std::vector<std::uint64_t> digests() {
  model<Executor> m;
  using trainer_type =
      DiLoCo<Inner, Outer, Compressor, alone, error_feedback, weighted_mean, automatic, every, Executor, silent>;
  trainer_type trainer({.schedule = every(2), .executor = m.executor}, m.parameters);
  std::vector<std::uint64_t> all{trainer.digest()};
  for (int step = 0; step < 8; ++step) {
    trainer.step(m.gradients);
    all.push_back(trainer.digest());
  }
  return all;
}

TEST_CASE_TEMPLATE_DEFINE("the device gives the host's bits", C, compressor_bits) {
  CHECK(digests<cuda_stream, adamw, nesterov, C>() == digests<cpp, adamw, nesterov, C>());
}
TEST_CASE_TEMPLATE_INVOKE(compressor_bits, f32, f16, bf16, absmax<8>, absmax<4>, absmax<4, 128>, sign<>);

TEST_CASE_TEMPLATE_DEFINE("every optimizer in both roles", O, optimizer_bits) {
  CHECK(digests<cuda_stream, O, O, f32>() == digests<cpp, O, O, f32>());
}
TEST_CASE_TEMPLATE_INVOKE(optimizer_bits, adamw, sgd, plain_sgd, nesterov, lion);

}  // namespace
