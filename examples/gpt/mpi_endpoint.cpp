// SPDX-License-Identifier: Apache-2.0
#include "trainers.hpp"

#if defined(DILOCO_HAS_MPI)

#include <diloco/transport/mpi.hpp>

namespace gpt {

mpi_world::mpi_world(int& argc, char**& argv) {
  int granted = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &granted);
}
mpi_world::~mpi_world() { MPI_Finalize(); }

int mpi_world::rank() const {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}
int mpi_world::size() const {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

void mpi_world::run(worker const& work) {
  endpoint_of<diloco::mpi> mine(diloco::mpi(MPI_COMM_WORLD), diloco::mpi(MPI_COMM_WORLD));
  work(mine);
}

}  // namespace gpt

#else

namespace gpt {

mpi_world::mpi_world(int&, char**&) {
  throw bad_input("--transport mpi: this program was built without MPI");
}
mpi_world::~mpi_world() = default;
int mpi_world::rank() const { return 0; }
int mpi_world::size() const { return 1; }
void mpi_world::run(worker const&) {}

}  // namespace gpt

#endif
