// SPDX-License-Identifier: Apache-2.0
// examples/gpt on a device, compared with its host layers. unit.gpt_kernels checks these kernels on the host.
// So only cuBLAS and the order of host and device can fail here.
#include "device.hpp"

#include "support/gpt_problem.hpp"

#include <cuda_runtime_api.h>

#include <thread>

namespace {

using namespace gpt_problem;

void copy_from_device(float* to, float const* from, std::size_t n) {
  REQUIRE(cudaMemcpy(to, from, n * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess);
}

std::unique_ptr<learner> on_device(problem& p) {
  return device_learner(shape, sequences, tensors_of(p.start), 0);
}

}  // namespace

TEST_CASE("the device gives the host layers' losses, gradients and predictions") {
  problem p;
  host_learner host(shape, sequences, p.start);
  auto const mine = on_device(p);
  check_close(of(*mine, p, copy_from_device), of(host, p), host.tensors());
  check_copies_back(*mine, p);
}

TEST_CASE("workers share a device, each on a stream of its own") {
  problem p;
  host_learner host(shape, sequences, p.start);
  outcome const expected = of(host, p);
  std::vector<outcome> all(4);
  {
    std::vector<std::jthread> workers;
    for (outcome& each : all) {
      workers.emplace_back([&] {
        auto const mine = on_device(p);
        for (int i = 0; i < 200; ++i)
          each = of(*mine, p, copy_from_device);  // the host's batches run ahead of the device
      });
    }
  }
  for (outcome const& each : all) check_close(each, expected, host.tensors());
}
