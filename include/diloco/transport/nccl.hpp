// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/nccl_communicator.hpp>
#include <diloco/transport/rendezvous.hpp>

#include <algorithm>
#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// NCCL on its own stream, under a deadline. Messages lie in memory that the device can access. Host code
/// that reads them needs pinned memory. All calls of a trainer must come from one thread, with the device
/// current that was current at construction.
/// A missed deadline, an NCCL error or a dropped flight takes the communicator out of service. It is revoked,
/// so that no kernel waits for ever. Before NCCL 2.28.7 it is aborted, unless it is borrowed.
/// If that takes more than `give_up_seconds`, the buffers are given up. The trainer says that it cannot go
/// on. Then make a new transport of the remaining ranks. (ncclCommShrink would avoid a new meeting. But NCCL
/// does not tell which ranks are missing, and all ranks must name the same ones.)
/// If several ranks share one GPU, give each process its own NCCL_HOSTID. It offers no sums: NCCL would
/// choose the order of additions by size, topology and version.
class nccl {
  using communicator = detail::nccl_communicator;
  using operation = detail::nccl_operation;
  using members = detail::exchange_members;

 public:
  static constexpr std::string_view name = "nccl";
  static constexpr bool receives_in_place = false;
  static constexpr transport_traits traits{.wires = transport_traits::place::on_device,
                                           .follows_executor = true};
  static constexpr double give_up_seconds = communicator::give_up_seconds;

  /// Borrows a communicator; it is never finalized, destroyed or aborted here. Make it nonblocking
  /// (ncclConfig_t.blocking = 0), or an exchange may wait for its peers before `wait` is called. Errors: no
  /// usable communicator.
  explicit nccl(ncclComm_t handle) : nccl(borrow(handle).value()) {}
  [[nodiscard]] static result<nccl> borrow(ncclComm_t handle) {
    int rank = 0, size = 0;
    ncclResult_t code = handle == nullptr ? ncclInvalidArgument : ncclCommUserRank(handle, &rank);
    if (code == ncclSuccess) code = ncclCommCount(handle, &size);
    if (code != ncclSuccess) return detail::nccl_failure(code, "the communicator given cannot be used");
    return adopt(handle, false, rank, size);
  }

  /// Collective: the ranks meet at a tcp_store or a file_store and make a communicator. Errors: those of the
  /// meeting, or a rank that does not join in time.
  template <store Store>
  explicit nccl(Store const& s, double seconds = 60) : nccl(make(s, seconds).value()) {}
  template <store Store>
  [[nodiscard]] static result<nccl> make(Store const& s, double seconds = 60) {
    deadline const d = deadline_after(seconds);
    return make_until(
        s.rank, s.size, [&](std::span<std::byte> id) { return s.share(id, d); }, d);
  }
  /// Collective, where the caller can distribute the bytes of rank 0: broadcast(std::span<std::byte>), which
  /// returns nothing or result<>.
  template <class Broadcast>
  requires std::invocable<Broadcast&, std::span<std::byte>>
  [[nodiscard]] static result<nccl> make(int rank, int size, Broadcast&& broadcast, double seconds = 60) {
    return make_until(rank, size, broadcast, deadline_after(seconds));
  }
  /// Collective, from an id that all ranks have.
  [[nodiscard]] static result<nccl> make(ncclUniqueId const& id, int rank, int size, double seconds = 60) {
    return join(id, rank, size, deadline_after(seconds));
  }

  [[nodiscard]] int rank() const { return state_->rank; }
  [[nodiscard]] int size() const { return state_->size; }

  /// The next exchange waits for the work enqueued on executor.stream so far. This includes an exchange with
  /// oneself. Order: enqueues only. Raises where that stream is being captured in a graph. Other errors
  /// appear in that exchange's wait.
  template <class E>
  requires requires(E const& e) {
    { e.stream } -> std::convertible_to<cudaStream_t>;
  }
  void after(E const& executor) { state_->after(executor.stream); }

  /// Messages in the buffers of the exchange. Before another exchange writes into them, `after` must have
  /// seen the work that reads them.
  using arrival = detail::slotted_arrival<communicator>;

  /// An open exchange. If it is dropped before it is complete, the communicator is out of service and its
  /// buffers are given up.
  class pending {
   public:
    pending(pending&&) noexcept = default;
    pending& operator=(pending&& other) noexcept {
      drop();
      state_ = std::move(other.state_);
      operation_ = std::move(other.operation_);
      return *this;
    }
    ~pending() { drop(); }

    /// Returns at the deadline, or up to `give_up_seconds` later if NCCL has to be stopped.
    result<arrival> wait(deadline d) {
      deadline const since = std::chrono::steady_clock::now();
      if (operation_->refused) return refusal();
      for (int polls = 0;; ++polls) {
        auto const over = state_->look(*operation_);
        if (!over) return lost(over.error());
        if (*over) break;
        if (detail::is_past(d)) return lost(late(since, d));
        // Ranks share cores in tests and on laptops. After a short spin, this rank lets the others run.
        if (polls > 64) std::this_thread::yield();
      }
      auto const done = std::exchange(operation_, nullptr);
      state_->end(*done);
      return arrival(std::exchange(state_, nullptr), std::move(done->memory), done->members);
    }

   private:
    friend class nccl;
    pending(std::shared_ptr<communicator> state, operation&& o)
        : state_(std::move(state)), operation_(std::make_unique<operation>(std::move(o))) {
      state_->begin(*operation_);
    }
    [[nodiscard]] error at(cause what, std::string_view text) const {
      auto const& tag = operation_->tag;
      return {what, state_->rank, static_cast<long>(tag.round),
              say({"diloco: nccl: round ", tag.round, " phase ", tag.phase, ": ", text})};
    }
    /// For a pair the late rank is known. For a collective NCCL tells only that it is not complete.
    [[nodiscard]] error late(deadline since, deadline d) const {
      bool const pair = operation_->members.pair;
      auto const waited = detail::waited(pair              ? "exchange"
                                         : operation_->cut ? "all_to_all"
                                                           : "all_gather",
                                         since, d);
      if (operation_->own)
        return at(cause::timeout,
                  "what comes before it on the device did not end before the deadline" + waited);
      if (pair)
        return at(cause::timeout, say({"rank ", operation_->partner(state_->rank),
                                       " did not arrive before the deadline", waited}));
      return at(cause::timeout,
                "not every rank arrived before the deadline (NCCL does not tell which)" + waited);
    }
    [[nodiscard]] error refusal() const {
      return at(cause::wrong_state, "the communicator is out of service since: " + state_->broken->message);
    }
    error lost(error e) {
      if (!state_->broken) state_->broken = e;
      if (!state_->give_up()) leak();
      forget();
      return e;
    }
    void drop() {
      if (operation_ == nullptr) return;
      if (!operation_->refused) {
        auto const over = state_->look(*operation_);
        if (over && !*over && !operation_->own)
          state_->broken = at(cause::wrong_state, "the exchange was dropped before it was over");
#if DILOCO_NCCL_REVOKES
        // Otherwise peers would wait for this rank, and cudaFree for the kernel.
        if (state_->broken) state_->stop();
#endif
        if (state_->broken && !state_->quiet) leak();
      }
      forget();
    }
    void forget() {
      state_->end(*operation_);
      operation_.reset();
      state_.reset();
    }
    /// Gives the buffers up, because NCCL may still write into them, now or never.
    void leak() {
      operation_->memory.send.leak();
      operation_->memory.receive.leak();
    }
    std::shared_ptr<communicator> state_;
    std::unique_ptr<operation> operation_;
  };

  /// Exchanges run one after the other on each rank, even those of different pairs. Rounds keep the order
  /// that this needs.
  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) {
    return start(std::move(w), tag, members::all(size()), false);
  }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) {
    return start(std::move(w), tag, members::all(size()), true);
  }
  [[nodiscard]] pending all_gather(wires w, rank_group g, exchange_tag tag) {
    return start(std::move(w), tag, members{g}, false);
  }
  [[nodiscard]] pending all_to_all(wires w, rank_group g, exchange_tag tag) {
    return start(std::move(w), tag, members{g}, true);
  }
  [[nodiscard]] pending exchange(wires w, int partner, exchange_tag tag) {
    return start(std::move(w), tag, members::pair_of(rank(), partner), false);
  }

 private:
  explicit nccl(std::shared_ptr<communicator> state) : state_(std::move(state)) {}

  pending start(wires w, exchange_tag tag, members const& m, bool cut) {
    operation o;
    o.memory = std::move(w), o.tag = tag, o.members = m, o.cut = cut;
    o.own = m.pair && m.ranks.count == 1;
    return pending(state_, std::move(o));
  }
  static result<nccl> adopt(ncclComm_t handle, bool owned, int rank, int size) {
    auto state = std::make_shared<communicator>(handle, owned, rank, size);
    if (state->broken) return *state->broken;
    return nccl(std::move(state));
  }
  static result<nccl> make_until(int rank, int size, auto&& broadcast, deadline d) {
    ncclUniqueId id{};
    if (auto good = check_place(rank, size); !good) return good.error();
    ncclResult_t const code = rank == 0 ? ncclGetUniqueId(&id) : ncclSuccess;
    if (code != ncclSuccess) id = {};
    auto const bytes = std::as_writable_bytes(std::span(id.internal));
    if constexpr (std::same_as<decltype(broadcast(bytes)), result<>>) {
      if (auto shared = broadcast(bytes); !shared) return shared.error();
    } else {
      broadcast(bytes);
    }
    if (code != ncclSuccess) return detail::nccl_failure(code, "ncclGetUniqueId failed");
    if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; })) {
      return error{cause::transport, rank, 0,
                   "diloco: nccl: rank 0 has no unique id to share; its own error says why"};
    }
    return join(id, rank, size, d);
  }
  static result<> check_place(int rank, int size) {
    if (size >= 1 && rank >= 0 && rank < size) return {};
    return error{cause::bad_setting, rank, 0,
                 say({"diloco: nccl: there is no rank ", rank, " in a world of ", size})};
  }
  static result<nccl> join(ncclUniqueId const& id, int rank, int size, deadline d) {
    deadline const since = std::chrono::steady_clock::now();
    if (auto good = check_place(rank, size); !good) return good.error();
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclComm_t handle = nullptr;
    ncclResult_t code = ncclCommInitRankConfig(&handle, size, id, rank, &config);
    while (code == ncclInProgress && !detail::is_past(d)) {
      detail::pause(0.001, d);
      if (auto const asked = ncclCommGetAsyncError(handle, &code); asked != ncclSuccess) code = asked;
    }
    if (code == ncclSuccess) return adopt(handle, true, rank, size);
    auto const where = say({"rank ", rank, " did not join a world of ", size});
    error e = detail::nccl_failure(code, where, handle, rank);
    if (code == ncclInProgress) {
      e.what = cause::timeout;
      e.message = say({"diloco: nccl: ", where,
                       " before the deadline: not every rank came (NCCL does not tell which)",
                       detail::waited("ncclCommInitRank", since, d)});
    }
    if (code == ncclInvalidUsage) e.message += "; ranks that share a GPU need an NCCL_HOSTID each";
    // ncclCommAbort frees what exists and may block, so a detached thread calls it.
    if (handle != nullptr) std::thread([handle] { ncclCommAbort(handle); }).detach();
    return e;
  }

  std::shared_ptr<communicator> state_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
