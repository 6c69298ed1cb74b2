// SPDX-License-Identifier: Apache-2.0
// Host bits = device bits. The same inner steps and rounds run on a CUDA stream in device memory and on the
// host. The anchor after each step and every sent byte must match.
// round*.cu list the policies, in several files so that nvcc can compile them.
#pragma once

#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace cuda_round {

using namespace diloco;

inline constexpr std::size_t sizes[] = {1, 33, 100, 255, 256, 257, 4096, 9001, 20000};

inline float number(std::size_t i, int salt) {
  auto const h = mix64(static_cast<std::uint64_t>(salt) + 1, i + 1);
  return static_cast<float>(static_cast<std::int32_t>(h >> 32) >> 8) * 0x1p-23f;
}

/// Tensors and gradients in memory that the executor can reach, filled with the same numbers everywhere.
template <class Executor>
struct model {
  Executor executor;
  std::vector<buffer> memory;
  std::vector<tensor> parameters;
  std::vector<std::span<float const>> gradients;

  model() {
    for (std::size_t n : sizes) {
      std::size_t const rows = n % 100 == 0 ? n / 100 : 1;
      parameters.push_back({"t" + std::to_string(n), {rows, n / rows}, filled(n, 1)});
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
      REQUIRE(cudaMemcpy(memory.back().data(), host.data(), n * sizeof(float), cudaMemcpyHostToDevice) ==
              cudaSuccess);
    return memory.back().as<float>();
  }
};

/// A world of one that records what was sent.
class listened {
 public:
  static constexpr std::string_view name = "listened";
  static constexpr bool receives_in_place = alone::receives_in_place;
  static constexpr transport_traits traits{};
  explicit listened(std::vector<std::uint64_t>& heard) : heard_(&heard) {}
  [[nodiscard]] int rank() const { return 0; }
  [[nodiscard]] int size() const { return 1; }
  [[nodiscard]] auto all_gather(wires w, exchange_tag tag) {
    return inner_.all_gather(hear(std::move(w)), tag);
  }
  [[nodiscard]] auto all_to_all(wires w, exchange_tag tag) {
    return inner_.all_to_all(hear(std::move(w)), tag);
  }

 private:
  wires hear(wires w) {
    std::string bytes(w.send.size(), '\0');  // in host or device memory
    REQUIRE(cudaMemcpy(bytes.data(), w.send.data(), bytes.size(), cudaMemcpyDefault) == cudaSuccess);
    hash64 h;
    h.add(bytes);
    heard_->push_back(h.value());
    return w;
  }
  alone inner_;
  std::vector<std::uint64_t>* heard_;
};

/// Scatter–gather in a world of one, so the worker's part and the owner's part both run.
template <class Executor, class Inner, class Outer, class Compressor, class Feedback = error_feedback,
          class Combine = weighted_mean>
std::vector<std::uint64_t> digests() {
  model<Executor> m;
  using trainer_type =
      DiLoCo<Inner, Outer, Compressor, listened, Feedback, Combine, scatter_gather, every, Executor, silent>;
  std::vector<std::uint64_t> all;
  trainer_type trainer({.transport = listened(all), .schedule = every(2), .executor = m.executor},
                       m.parameters);
  all.push_back(trainer.digest());
  for (int step = 0; step < 8; ++step) {
    trainer.step(m.gradients);
    all.push_back(trainer.digest());
  }
  return all;
}

template <class C, class F = error_feedback>
struct with {
  using compressor = C;
  using feedback = F;
};
template <class W>
void check_compressor() {
  using C = typename W::compressor;
  using F = typename W::feedback;
  CHECK(digests<cuda_stream, adamw, nesterov, C, F>() == digests<cpp, adamw, nesterov, C, F>());
}

/// Checks an optimizer in both roles.
template <class O>
void check_optimizer() {
  CHECK(digests<cuda_stream, O, O, f32>() == digests<cpp, O, O, f32>());
}

}  // namespace cuda_round
