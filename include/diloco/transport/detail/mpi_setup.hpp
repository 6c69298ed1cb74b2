// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/launcher.hpp>
#include <diloco/transport/detail/mpi_communicator.hpp>

#include <thread>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

inline error mpi_refusal(cause what, int rank, std::initializer_list<piece> pieces) {
  return {what, rank, 0, "diloco: mpi: " + say(pieces)};
}

/// If another MPI's launcher started the program, each process is rank 0 of a world of one. `whole` is the
/// size of MPI_COMM_WORLD, the only size that can be compared with a launcher's promise.
inline result<> check_launcher(MPI_Comm world, int rank) {
  int whole = 1, same = MPI_UNEQUAL;
  MPI_Comm_size(MPI_COMM_WORLD, &whole);
  MPI_Comm_compare(world, MPI_COMM_SELF, &same);
  if (whole != 1 || same == MPI_IDENT) return {};
  auto const promise = promise_of_launchers(true);
  if (!promise || promise->size <= 1) return {};
  return mpi_refusal(
      cause::bad_setting, rank,
      {promise->variable, " = ", promise->value, " promises ",
       promise->size == promise->value ? "" : "at least ", promise->size,
       " ranks and MPI_COMM_WORLD has 1; start the program with the launcher of the MPI that it"
       " is linked with, or ask for a world of one by mpi(world, 1)"});
}

/// Whether this rank can send anything to the others of `world`.
inline bool mpi_can_tell(MPI_Comm world) {
  int on = 0, between = 0;
  MPI_Initialized(&on);
  if (on == 0 || mpi_is_over() || world == MPI_COMM_NULL) return false;
  MPI_Comm_test_inter(world, &between);
  return between == 0;
}

/// Checks all that a rank can check alone, before it waits for others.
inline result<> check_mpi_world(MPI_Comm world, int expected_size, double deadline_seconds) {
  int on = 0, between = 0, rank = 0, size = 0;
  MPI_Initialized(&on);
  if (on == 0 || mpi_is_over()) {
    return mpi_refusal(cause::wrong_state, 0,
                       {on == 0 ? "MPI is not initialized; call MPI_Init_thread before making the transport"
                                : "MPI was finalized; make the transport before MPI_Finalize"});
  }
  if (world == MPI_COMM_NULL) {
    return mpi_refusal(cause::bad_setting, 0,
                       {"the communicator is MPI_COMM_NULL; give one that this process is in"});
  }
  MPI_Comm_test_inter(world, &between);
  if (between != 0) {
    return mpi_refusal(cause::bad_setting, 0,
                       {"the communicator is an inter-communicator; merge it by MPI_Intercomm_merge"});
  }
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &size);
  if (!(deadline_seconds > 0 && deadline_seconds < 1e9)) {
    return mpi_refusal(cause::bad_setting, rank,
                       {"deadline_seconds = ", deadline_seconds, " must be in (0, 1e9)"});
  }
  if (expected_size == -1) return check_launcher(world, rank);
  if (expected_size < 1) {
    return mpi_refusal(cause::bad_setting, rank,
                       {"expected_size = ", expected_size,
                        " is no world; say how many ranks there are, and 1 for one that is alone"});
  }
  if (expected_size == size) return {};
  return mpi_refusal(
      cause::bad_setting, rank,
      {"expected_size = ", expected_size, " and the communicator has ", size, size == 1 ? " rank" : " ranks",
       "; start as many processes, with the launcher of the MPI that the program is linked with"});
}

/// MPI_Comm_idup with a roll call: each rank scatters a byte, so all know who made this call. MPI_Iscatterv
/// sends from its root directly to each rank. A tree could only report too many missing ranks.
struct mpi_duplication {
  MPI_Comm made = MPI_COMM_NULL;
  std::vector<MPI_Request> requests;  // first the roll call, by rank, then the duplicate
  std::vector<char> said, heard;
  std::vector<int> ones, zeros;

  static constexpr char comes = 1, refuses = 2;

  [[nodiscard]] int start(MPI_Comm world, int size, char verdict) {
    auto const n = static_cast<std::size_t>(size);
    requests.assign(n + 1, MPI_REQUEST_NULL);
    said.assign(1, verdict);
    heard.assign(n, 0);
    ones.assign(n, 1);
    zeros.assign(n, 0);
    int code = MPI_SUCCESS;
    for (int r = 0; r < size && code == MPI_SUCCESS; ++r) {
      auto const i = static_cast<std::size_t>(r);
      code = MPI_Iscatterv(said.data(), ones.data(), zeros.data(), MPI_BYTE, &heard[i], 1, MPI_BYTE, r, world,
                           &requests[i]);
    }
    return code == MPI_SUCCESS ? MPI_Comm_idup(world, &made, &requests[n]) : code;
  }
  /// True if all requests are complete.
  [[nodiscard]] bool over(int& code) {
    int all = 0;
    code = MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all, MPI_STATUSES_IGNORE);
    return all != 0;
  }
  /// The ranks that took part but refuse to make the transport. Valid once all requests are complete.
  [[nodiscard]] std::vector<int> refusing() const {
    std::vector<int> ranks;
    for (std::size_t r = 0; r < heard.size(); ++r) {
      if (heard[r] == refuses) ranks.push_back(static_cast<int>(r));
    }
    return ranks;
  }
  [[nodiscard]] std::vector<int> missing() {
    std::vector<int> ranks;
    for (std::size_t r = 0; r + 1 < requests.size(); ++r) {
      int here = 1;
      if (requests[r] != MPI_REQUEST_NULL) MPI_Test(&requests[r], &here, MPI_STATUS_IGNORE);
      if (here == 0) ranks.push_back(static_cast<int>(r));
    }
    return ranks;
  }
};

/// Errors: an MPI failure, or the missing ranks. The open requests then stay with MPI for good, because none
/// can be cancelled.
inline result<MPI_Comm> mpi_duplicate(MPI_Comm world, double seconds, char verdict = mpi_duplication::comes) {
  int rank = 0, size = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &size);
  auto const since = std::chrono::steady_clock::now();
  deadline const d = deadline_after(seconds);
  auto work = std::make_unique<mpi_duplication>();
  int code = work->start(world, size, verdict);
  for (int polls = 0; code == MPI_SUCCESS && !work->over(code) && code == MPI_SUCCESS; ++polls) {
    if (is_past(d)) {
      auto const ranks = work->missing();
      static_cast<void>(work.release());
      return mpi_refusal(cause::timeout, rank,
                         {ranks.empty() ? "MPI_Comm_idup did not end" : names_of(ranks),
                          ranks.empty() ? "" : " did not make the transport", " before the deadline",
                          waited("MPI_Comm_idup", since, d)});
    }
    if (polls > 64) std::this_thread::yield();
  }
  if (code != MPI_SUCCESS) {
    static_cast<void>(work.release());
    return mpi_refusal(cause::transport, rank, {"MPI_Comm_idup failed: ", mpi_words(code)});
  }
  if (auto const ranks = work->refusing(); !ranks.empty() && verdict == mpi_duplication::comes) {
    return mpi_refusal(cause::peer_lost, rank,
                       {names_of(ranks), " refused to make the transport; look at ",
                        ranks.size() == 1 ? "its" : "their", " own error"});
  }
  MPI_Comm const made = work->made;
  MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
  return made;
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
