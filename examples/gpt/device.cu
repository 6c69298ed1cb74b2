// SPDX-License-Identifier: Apache-2.0
#include "bad_input.hpp"
#include "cublas_products.cuh"
#include "device.hpp"
#include "device_stream.cuh"
#include "kernel_learner.hpp"

namespace gpt {

namespace {

void need_cuda(cudaError_t code, char const* call) {
  if (code != cudaSuccess)
    throw std::runtime_error(std::string(call) + " failed: " + cudaGetErrorString(code));
}

int device_count() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

// The stream and the cuBLAS handle of one worker.
struct queue {
  explicit queue(int worker) {
    need_cuda(cudaSetDevice(worker % device_count()), "cudaSetDevice");
    need_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    need(cublasCreate(&handle), "cublasCreate");
    need(cublasSetStream(handle, stream), "cublasSetStream");
  }
  queue(queue const&) = delete;
  queue& operator=(queue const&) = delete;
  ~queue() {
    cublasDestroy(handle);
    cudaStreamDestroy(stream);
  }
  cudaStream_t stream = nullptr;
  cublasHandle_t handle = nullptr;
};

// The queue is the first base, so it is constructed before the memory and destroyed after it.
class cuda_learner final : private queue, public kernel_learner<diloco::cuda_stream, cublas_products> {
 public:
  cuda_learner(model_shape const& shape, int batch, std::vector<diloco::tensor> const& start, int worker)
      : queue(worker), kernel_learner({.stream = queue::stream}, {queue::handle}, shape, batch, start) {}
};

}  // namespace

void need_device() {
  if (device_count() == 0)
    throw bad_input("--device cuda: there is no CUDA device here; train on the host without it");
}

std::unique_ptr<learner> device_learner(model_shape const& shape, int batch,
                                        std::vector<diloco::tensor> const& start, int worker) {
  return std::make_unique<cuda_learner>(shape, batch, start, worker);
}

diloco::cuda_stream stream_of(learner& learner) { return dynamic_cast<cuda_learner&>(learner).executor(); }

}  // namespace gpt
