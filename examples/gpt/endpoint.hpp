// SPDX-License-Identifier: Apache-2.0
// One worker's place among the others. The training loop is compiled once against these two small interfaces.
// trainers.hpp implements them with one type per combination of policies.
#pragma once

#include "learner.hpp"
#include "options.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace gpt {

enum class method { warm_up, data_parallel, diloco };

// What a folder of snapshots held.
struct found_snapshot {
  int step = 0;  // 0: nothing
  std::vector<double> numbers;
  std::vector<std::string> passed_over;  // a sentence about each damaged file
};

// A diloco::DiLoCo with any policies.
class trainer {
 public:
  virtual ~trainer() = default;
  virtual void step(std::vector<std::span<float const>> const& gradients, float grad_scale) = 0;
  virtual void sync() = 0;
  // Collective. `numbers` are this worker's own.
  virtual void save(std::string const& folder, std::vector<double> const& numbers) = 0;
  virtual found_snapshot resume(std::string const& folder) = 0;
  virtual std::uint64_t rounds() const = 0;
  virtual std::uint64_t sent_bytes() const = 0;  // counted when sent
  virtual std::uint64_t peak_bytes() const = 0;  // of the round that sends most
  virtual std::string describe() const = 0;
};

class endpoint {
 public:
  virtual ~endpoint() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Collective, once per endpoint.
  virtual std::unique_ptr<trainer> make_trainer(options const& o, method how, learner& learner) = 0;
  // Collective: row r holds what rank r passed. For the report only. It is not counted, and training does not
  // use it.
  virtual std::vector<std::vector<double>> gather(std::vector<double> const& mine) = 0;
};

using worker = std::function<void(endpoint&)>;

// Calls `worker` for every rank of this process and returns when all are done. Rethrows the first exception.
void run_alone(worker const& work);
void run_on_threads(int workers, worker const& work);

// The world that mpirun started. Without MPI, mpi_world's constructor throws bad_input.
class mpi_world {
 public:
  mpi_world(int& argc, char**& argv);
  ~mpi_world();
  mpi_world(mpi_world const&) = delete;
  mpi_world& operator=(mpi_world const&) = delete;
  int rank() const;
  int size() const;
  void run(worker const& work);
};

}  // namespace gpt
