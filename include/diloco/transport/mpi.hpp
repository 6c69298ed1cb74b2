// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/transport.hpp>
#include <diloco/core/text.hpp>
#include <diloco/transport/detail/slotted_arrival.hpp>

#if !defined(OMPI_SKIP_MPICXX)
#define OMPI_SKIP_MPICXX 1  // Open MPI's removed C++ bindings would have to be linked
#endif
#include <mpi.h>

#include <array>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Nonblocking MPI collectives, and messages between pairs, under a deadline. The caller initializes and finalizes MPI; the
/// communicator is duplicated, so nothing of ours meets the caller's messages. MPI cannot take a collective back, and we take
/// no message back: after a missed deadline the wires stay with MPI for good and the trainer says that it cannot go on. Peers
/// that had this rank's part by then may have committed the round: the run is over on this rank, and the others' next round
/// finds it missing.
class mpi {
 public:
  static constexpr std::string_view name = "mpi";
  static constexpr bool receives_in_place = false;

  /// Collective over `world`. Errors: MPI not initialized, or finalized already.
  explicit mpi(MPI_Comm world) {
    int on = 0, off = 0;
    MPI_Initialized(&on);
    MPI_Finalized(&off);
    if (on == 0 || off != 0) {
      raise({cause::wrong_state, 0, 0,
             "diloco: mpi: MPI is not initialized; call MPI_Init_thread before making the transport"});
    }
    MPI_Comm mine = MPI_COMM_NULL;
    if (int const code = MPI_Comm_dup(world, &mine); code != MPI_SUCCESS) raise(failure(code, "MPI_Comm_dup", {}, 0));
    MPI_Comm_set_errhandler(mine, MPI_ERRORS_RETURN);
    state_ = std::make_shared<communicator>(mine);
  }

  [[nodiscard]] int rank() const { return state_->rank; }
  [[nodiscard]] int size() const { return state_->size; }

 private:
  struct communicator {
    explicit communicator(MPI_Comm c) : handle(c) {
      MPI_Comm_rank(c, &rank);
      MPI_Comm_size(c, &size);
      for (int r = 0; r < size; ++r) {
        roster.push_back(r);
        pairs.push_back({rank < r ? rank : r, rank < r ? r : rank});
      }
    }
    communicator(communicator const&) = delete;
    communicator& operator=(communicator const&) = delete;
    ~communicator() {
      int off = 0;
      MPI_Finalized(&off);
      // Freeing is collective; with a request that never completed it would hang, so such a communicator is left behind.
      if (off == 0 && !abandoned) MPI_Comm_free(&handle);
    }
    MPI_Comm handle;
    int rank = 0, size = 0;
    bool abandoned = false;
    std::vector<int> roster;
    std::vector<std::array<int, 2>> pairs;  // this rank's with each

    [[nodiscard]] std::span<int const> roster_with(int partner) const {
      if (partner == everybody) return roster;
      return {pairs[static_cast<std::size_t>(partner)].data(), partner == rank ? std::size_t{1} : std::size_t{2}};
    }
  };
  static constexpr int everybody = detail::with_everybody;

 public:
  using arrival = detail::slotted_arrival<communicator>;

  class pending {
   public:
    pending(pending&& other) noexcept { swap(other); }
    pending& operator=(pending&& other) noexcept {
      pending taken(std::move(other));
      swap(taken);
      return *this;
    }
    ~pending() { abandon(); }

    result<arrival> wait(deadline d) {
      if (code_ != MPI_SUCCESS) return lost(failure(code_, "the exchange", tag_, state_->rank));
      for (int polls = 0;; ++polls) {
        int here = 0;
        code_ = test(here);
        if (code_ != MPI_SUCCESS) return lost(failure(code_, "MPI_Test", tag_, state_->rank));
        if (here != 0) return arrival(std::exchange(state_, nullptr), std::move(memory_), partner_);
        if (std::chrono::steady_clock::now() >= d) return lost(late());
        // Ranks share cores in tests and on laptops: after a short spin, let the others in.
        if (polls > 64) std::this_thread::yield();
      }
    }

   private:
    friend class mpi;
    pending(std::shared_ptr<communicator> state, wires w, exchange_tag tag, int partner = everybody)
        : state_(std::move(state)), memory_(std::move(w)), tag_(tag), partner_(partner) {}
    /// One request after the other, because MPI_Testall would hide which of two failed.
    [[nodiscard]] int test(int& here) {
      int code = MPI_Test(&requests_[0], &here, MPI_STATUS_IGNORE);
      if (code == MPI_SUCCESS && here != 0) code = MPI_Test(&requests_[1], &here, MPI_STATUS_IGNORE);
      return code;
    }
    void swap(pending& other) noexcept {
      std::swap(state_, other.state_);
      std::swap(memory_, other.memory_);
      std::swap(tag_, other.tag_);
      std::swap(partner_, other.partner_);
      std::swap(requests_, other.requests_);
      std::swap(code_, other.code_);
    }
    [[nodiscard]] error late() const {
      if (partner_ != everybody) {
        return {cause::timeout, state_->rank, static_cast<long>(tag_.round),
                say({"diloco: mpi: round ", tag_.round, " phase ", tag_.phase, ": rank ", partner_,
                     " did not arrive before the deadline"})};
      }
      return {cause::timeout, state_->rank, static_cast<long>(tag_.round),
              say({"diloco: mpi: round ", tag_.round, " phase ", tag_.phase,
                   ": not every rank arrived before the deadline (MPI does not tell which)"})};
    }
    [[nodiscard]] error lost(error e) {
      abandon();
      return e;
    }
    /// MPI may still write into the buffers, today or never: they are given up, as is the communicator.
    void abandon() {
      if (state_ == nullptr) return;
      int done = 0;  // of requests that are null, at once
      if (test(done) == MPI_SUCCESS && done == 0) {
        memory_.send.leak();
        memory_.receive.leak();
        state_->abandoned = true;
      }
      state_.reset();
    }
    std::shared_ptr<communicator> state_;
    wires memory_;
    exchange_tag tag_;
    int partner_ = everybody;
    std::array<MPI_Request, 2> requests_{MPI_REQUEST_NULL,
                                         MPI_REQUEST_NULL};  // the second: of what is sent to a partner
    int code_ = MPI_SUCCESS;
  };

  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) {
    pending p(state_, std::move(w), tag);
    units const u(p.memory_.send.size());
    p.code_ = MPI_Iallgather(p.memory_.send.data(), u.count, u.type, p.memory_.receive.data(), u.count, u.type,
                             state_->handle, &p.requests_[0]);
    return p;
  }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) {
    pending p(state_, std::move(w), tag);
    units const u(p.memory_.send.size() / static_cast<std::size_t>(size()));
    p.code_ = MPI_Ialltoall(p.memory_.send.data(), u.count, u.type, p.memory_.receive.data(), u.count, u.type,
                            state_->handle, &p.requests_[0]);
    return p;
  }
  [[nodiscard]] pending exchange(wires w, int partner, exchange_tag tag) {
    pending p(state_, std::move(w), tag, partner);
    if (partner == rank()) return p;
    units const u(p.memory_.send.size());
    // MPI promises 15 bits of tag, and order between any two ranks; the frame says the rest.
    int const t = static_cast<int>((tag.round * 4 + tag.phase) % 32768);
    p.code_ = MPI_Irecv(p.memory_.receive.data(), u.count, u.type, partner, t, state_->handle, &p.requests_[0]);
    if (p.code_ == MPI_SUCCESS)
      p.code_ = MPI_Isend(p.memory_.send.data(), u.count, u.type, partner, t, state_->handle, &p.requests_[1]);
    return p;
  }

 private:
  /// MPI-3 counts are ints. Slots are multiples of 16 bytes (or of 8, for digests), so a slot is counted in those.
  struct units {
    explicit units(std::size_t bytes) {
      unit = bytes % 16 == 0 ? 16 : 8;
      if (bytes % unit != 0 || bytes / unit > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        raise({cause::transport, 0, 0,
               say({"diloco: mpi: a slot of ", bytes, " bytes is not a multiple of 8 below 32 GiB"})});
      }
      count = static_cast<int>(bytes / unit);
      MPI_Type_contiguous(static_cast<int>(unit), MPI_BYTE, &type);
      MPI_Type_commit(&type);
    }
    units(units const&) = delete;
    units& operator=(units const&) = delete;
    ~units() { MPI_Type_free(&type); }  // MPI keeps it until the pending collective is over
    std::size_t unit;
    int count;
    MPI_Datatype type = MPI_DATATYPE_NULL;
  };

  static error failure(int code, std::string_view call, exchange_tag tag, int rank) {
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(code, text.data(), &length);
    return {cause::transport, rank, static_cast<long>(tag.round),
            say({"diloco: mpi: round ", tag.round, ": ", call, " failed: ", text.data()})};
  }

  std::shared_ptr<communicator> state_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
