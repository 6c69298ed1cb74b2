// SPDX-License-Identifier: Apache-2.0
// 01_quadratic on a GPU. x lies in device memory that we own. Each worker has a stream, on which its own
// kernel and the trainer's sweeps run in order. The host only enqueues.
#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>

#include <cmath>
#include <cstdio>
#include <memory>

namespace {

constexpr std::size_t n = 5000;

void need(cudaError_t code) {
  if (code != cudaSuccess) throw std::runtime_error(cudaGetErrorString(code));
}

// [kernel]
/// Gradient of ½‖x − target‖².
__global__ void pull(float const* x, float target, float* gradient) {
  std::size_t const i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) gradient[i] = x[i] - target;
}
// [/kernel]

using own_stream = std::unique_ptr<CUstream_st, cudaError_t (*)(cudaStream_t)>;
own_stream make_stream() {
  cudaStream_t stream = nullptr;
  need(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return {stream, cudaStreamDestroy};
}

using device_floats = std::unique_ptr<float, cudaError_t (*)(void*)>;
device_floats zeros(cudaStream_t stream) {
  void* data = nullptr;
  need(cudaMalloc(&data, n * sizeof(float)));
  need(cudaMemsetAsync(data, 0, n * sizeof(float), stream));
  return {static_cast<float*>(data), cudaFree};
}

/// Trains one worker. `ended[rank]` becomes its final x.
void train(diloco::threads transport, float* ended) {
  int const rank = transport.rank();
  // [trainer]
  auto const stream = make_stream();  // the stream and the tensors must outlive the trainer
  auto const x = zeros(stream.get()), gradient = zeros(stream.get());
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_compressor(diloco::absmax<8>{})
                             .with_transport(std::move(transport))
                             .with_schedule(diloco::every(10))
                             .with_executor(diloco::cuda_stream{.stream = stream.get()}),
                         std::vector<diloco::tensor>{{"x", {50, 100}, x.get()}});
  std::vector<std::span<float const>> const gradients{{gradient.get(), n}};
  // [/trainer]
  if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
  // [loop]
  for (int step = 1; step <= 600; ++step) {
    pull<<<(n + 255) / 256, 256, 0, stream.get()>>>(x.get(), rank == 0 ? 1.0f : 3.0f, gradient.get());
    trainer.step(gradients);
  }
  need(cudaMemcpyAsync(ended + rank, x.get(), sizeof(float), cudaMemcpyDeviceToHost, stream.get()));
  need(cudaStreamSynchronize(stream.get()));
  // [/loop]
}

}  // namespace

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    return std::puts("there is no CUDA device here"), 77;
  float ended[2] = {};
  diloco::run_threads(2, [&](auto transport) { train(std::move(transport), ended); });
  bool const fine = ended[0] == ended[1] && std::abs(ended[0] - 2.0f) < 1e-3f;
  std::printf("both end at %.5f, %s\n", static_cast<double>(ended[0]),
              fine ? "the mean of 1 and 3" : "and should not");
  return fine ? 0 : 1;
}
