// SPDX-License-Identifier: Apache-2.0
// The same round over MPI. Only the transport changes. Run it with `mpirun -n 4`; without mpirun it is a
// world of one. Each rank pulls toward its own number, and all must end at the mean of these.
#include <diloco/diloco.hpp>
#include <diloco/transport/mpi.hpp>

#include <cmath>
#include <cstdio>

/// Returns 0 if this rank ended at the mean.
int train() {
  // [transport]
  diloco::mpi transport(MPI_COMM_WORLD);  // after MPI_Init_thread; the communicator is duplicated
  int const rank = transport.rank(), ranks = transport.size();
  // [/transport]
  std::vector<float> x(65536), gradient(x.size());

  // [trainer]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_compressor(diloco::absmax<8>{})
                             .with_transport(diloco::counted(std::move(transport)))
                             .with_schedule(diloco::every(10))
                             .with_deadline_seconds(30),
                         std::vector<diloco::tensor>{{"x", {256, 256}, x.data()}});
  // [/trainer]
  auto const traffic = trainer.transport().counts();
  auto const before = traffic->sent_bytes.load();  // the contract was exchanged at construction

  for (int step = 0; step < 600; ++step) {
    for (std::size_t i = 0; i < x.size(); ++i) gradient[i] = x[i] - static_cast<float>(rank);
    trainer.step(std::vector<std::span<float const>>{gradient});
  }

  auto const counted = traffic->sent_bytes - before,
             declared = trainer.rounds() * trainer.wire_bytes_per_round();
  float const mean = 0.5f * static_cast<float>(ranks - 1);
  bool const right = std::abs(x[0] - mean) < 1e-3f && counted == declared;
  if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
  std::printf("rank %d of %d ends at %.4f (mean %.4f) after %llu bytes sent, %llu declared\n", rank, ranks,
              static_cast<double>(x[0]), static_cast<double>(mean), static_cast<unsigned long long>(counted),
              static_cast<unsigned long long>(declared));
  return right ? 0 : 1;
}

// [main]
int main(int argc, char** argv) {
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int const status = train();  // the trainer and its transport must end before MPI does
  MPI_Finalize();
  return status;
}
// [/main]
