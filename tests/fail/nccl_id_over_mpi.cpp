// SPDX-License-Identifier: Apache-2.0
// must compile
// NCCL's id over an MPI communicator. transport/nccl.hpp does not depend on MPI.
#include <diloco/transport/mpi.hpp>
#include <diloco/transport/nccl.hpp>

diloco::result<diloco::nccl> over_mpi(int rank, int ranks) {
  // [broadcast]
  auto made = diloco::nccl::make(rank, ranks, [](std::span<std::byte> id) {
    MPI_Bcast(id.data(), static_cast<int>(id.size()), MPI_BYTE, 0, MPI_COMM_WORLD);
  });
  // [/broadcast]
  return made;
}
