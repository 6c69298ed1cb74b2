// SPDX-License-Identifier: Apache-2.0
// Promises of the CUDA executor: memory is allocated and freed in stream order, marks order streams, and
// Thrust runs on the stream. Also a trainer with its state on the host, and a request for too much memory.
#include "support/cuda_test_stream.hpp"
#include "support/placed.hpp"

#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>
#include <diloco/executor/state_on_host.hpp>

#include <doctest/doctest.h>

#include <thrust/fill.h>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{1, 255, 4097, 9000};

/// A caller's resource that records its allocations.
struct resource {
  std::size_t live = 0, taken = 0;
  cudaStream_t seen = nullptr;
  void* allocate(std::size_t bytes, cudaStream_t on) {
    void* p = nullptr;
    REQUIRE(cudaMallocAsync(&p, bytes, on) == cudaSuccess);
    live += bytes;
    taken += bytes;
    seen = on;
    return p;
  }
  void deallocate(void* p, std::size_t bytes, cudaStream_t on) {
    cudaFreeAsync(p, on);
    live -= bytes;
  }
};

/// Digests of the anchor after each of eight steps, with a round in every second step.
template <class Executor>
std::vector<std::uint64_t> digests(Executor where, footprint* told = nullptr) {
  placed<Executor> p(where, sizes, true);
  DiLoCo<adamw, nesterov, absmax<4>, alone, error_feedback, weighted_mean, scatter_gather, every, Executor,
         silent>
      t({.transport = alone{}, .schedule = every(2), .executor = where}, p.parameters);
  std::vector<std::uint64_t> seen;
  for (long step = 0; step < 8; ++step) {
    t.step(p.at(0, step));
    seen.push_back(t.digest());
  }
  if (told != nullptr) *told = t.footprint();
  return seen;
}

}  // namespace

TEST_CASE("executor: the same bits whatever memory the columns come from") {
  test_stream const s;
  auto const host = digests(cpp{});
  CHECK(digests(cuda_stream{.stream = s.handle}) == host);
  CHECK(digests(cuda_executor<plain_device_memory>{.stream = s.handle}) == host);
  footprint told;
  CHECK(digests(state_on_host<cuda_stream>{{.stream = s.handle}}, &told) == host);
  CHECK(told.placed_bytes > 0);
}

TEST_CASE("executor: a caller's resource gives all device memory and gets it back") {
  test_stream const s;
  resource mine;
  using executor_type = cuda_executor<memory_of<resource>>;
  footprint told;
  CHECK(digests(executor_type{.stream = s.handle, .memory = {&mine}}, &told) == digests(cpp{}));
  CHECK(mine.seen == s.handle);
  CHECK(mine.live == 0);
  CHECK(mine.taken >= told.state_bytes);
  std::string message;
  try {
    static_cast<void>(executor_type{}.allocate(64));
  } catch (exception const& e) {
    message = e.what();
  }
  CHECK(message == "diloco: cuda: memory_of has no resource; give it the address of yours");
}

TEST_CASE("executor: more memory than there is, in one sentence") {
  std::string message;
  try {
    static_cast<void>(cuda_executor<plain_device_memory>{}.allocate(std::size_t{1} << 50));
  } catch (exception const& e) {
    message = e.what();
    CHECK(e.details().what == cause::device);
  }
  CHECK(message.starts_with("diloco: cuda: cudaMalloc: no memory for 1125899906842624 bytes, of "));
  CHECK(cudaGetLastError() == cudaSuccess);
}

TEST_CASE("executor: a mark orders two streams, and Thrust runs on ours") {
  test_stream const one, other;
  cuda_stream const first{.stream = one.handle}, second{.stream = other.handle};
  constexpr std::size_t n = std::size_t{1} << 24;
  buffer const x = first.allocate(n * sizeof(float));
  float* const p = x.as<float>();
  for (int i = 0; i < 50; ++i) thrust::fill_n(first.policy(), p, n, static_cast<float>(i));
  cuda_mark const filled = first.mark();
  second.after(filled);
  std::vector<float> seen(n);
  second.copy_to_host(seen.data(), p, n * sizeof(float));
  second.wait();
  CHECK(filled.reached());
  CHECK(seen.front() == 49.0f);
  CHECK(seen.back() == 49.0f);
}
