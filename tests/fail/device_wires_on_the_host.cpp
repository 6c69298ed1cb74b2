// SPDX-License-Identifier: Apache-2.0
// must not compile: diloco: transport: sends from memory of the device, and this executor keeps its wires on the host; say .executor = diloco::cuda_stream{}, or take a transport of the host such as diloco::mpi
#include <diloco/diloco.hpp>

/// Sends from device memory, as NCCL does. It would read pageable host memory.
struct from_device : diloco::alone {
  static constexpr diloco::transport_traits traits{.wires = diloco::transport_traits::place::on_device,
                                                   .follows_executor = true};
};

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}.with_transport(from_device{}), parameters);
}
