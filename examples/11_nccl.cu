// SPDX-License-Identifier: Apache-2.0
// The same round between GPUs, over NCCL. Columns, gradients and messages stay in device memory. Start one
// process per rank, with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment.
// Each rank pulls toward its own number, and all must end at the mean of these.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>
#include <diloco/transport/nccl.hpp>

#include <cmath>
#include <cstdio>

/// Gradient of ½‖x − target‖².
__global__ void pull(float const* x, float target, float* gradient, std::size_t n) {
  std::size_t const i = blockIdx.x * std::size_t{256} + threadIdx.x;
  if (i < n) gradient[i] = x[i] - target;
}

/// Returns 0 if this rank ended at the mean.
int train(int devices) {
  // [transport]
  diloco::tcp_store const store = diloco::tcp_store::from_environment().value();
  cudaSetDevice(store.rank % devices);  // before the transport is made, which keeps this device
  diloco::nccl transport(store);        // all ranks meet at rank 0, within 60 s
  // [/transport]
  int const rank = transport.rank(), ranks = transport.size();

  diloco::cuda_stream executor;
  cudaStreamCreateWithFlags(&executor.stream, cudaStreamNonBlocking);
  constexpr std::size_t n = 65536;
  diloco::buffer const x = executor.allocate(n * sizeof(float)),
                       gradient = executor.allocate(n * sizeof(float));

  // [trainer]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_compressor(diloco::absmax<8>{})
                             .with_transport(std::move(transport))
                             .with_executor(executor)
                             .with_schedule(diloco::every(10))
                             .with_deadline_seconds(30),
                         std::vector<diloco::tensor>{{"x", {256, 256}, x.as<float>()}});
  // [/trainer]
  std::vector<std::span<float const>> const gradients{{gradient.as<float>(), n}};
  for (int step = 0; step < 600; ++step) {
    pull<<<n / 256, 256, 0, executor.stream>>>(x.as<float>(), static_cast<float>(rank), gradient.as<float>(),
                                               n);
    trainer.step(gradients);
  }

  float end = 0, mean = 0.5f * static_cast<float>(ranks - 1);
  executor.copy_to_host(&end, x.data(), sizeof end);
  executor.wait();
  if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
  std::printf("rank %d of %d ends at %.4f (mean %.4f)\n", rank, ranks, static_cast<double>(end),
              static_cast<double>(mean));
  return std::abs(end - mean) < 1e-3f ? 0 : 1;
}

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("no CUDA device here");
    return 77;
  }
  return train(devices);
}
