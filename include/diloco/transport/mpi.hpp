// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/mpi_setup.hpp>

#include <algorithm>
#include <concepts>
#include <cstring>
#include <thread>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Nonblocking MPI messages between all ranks, under a deadline. There is one message per peer and exchange,
/// so this rank knows whose message is missing. The tag names the exchange, so a peer in another exchange is
/// named when its message comes.
/// The caller initializes and finalizes MPI. The communicator is duplicated, so our messages never mix with
/// the caller's.
/// No message is cancelled. After a missed deadline the buffers stay with MPI, and the trainer says that it
/// cannot go on. Peers that have this rank's message by then may have committed the round. Their next round
/// finds this rank missing.
class mpi {
  using communicator = detail::mpi_communicator;
  using operation = detail::mpi_operation;
  using members = detail::exchange_members;

 public:
  static constexpr std::string_view name = "mpi";
  static constexpr bool receives_in_place = false;
  static constexpr transport_traits traits{.needs_progress = true};
  /// No expected size is stated. A world of one is then checked against the launcher's promise.
  static constexpr int as_launched = -1;

  /// Collective over `world`. Waits for all its ranks up to `deadline_seconds`. `expected_size` is the size
  /// of `world`; a launcher's promise then does not count. An expected size of 1 asks for a world of one, as
  /// MPI_COMM_SELF does.
  /// Errors: MPI is not initialized or already finalized, an inter-communicator, another size than expected,
  /// or a rank that does not come in time.
  explicit mpi(MPI_Comm world, int expected_size = as_launched, double deadline_seconds = 300)
      : mpi(make(world, expected_size, deadline_seconds).value()) {}
  /// Deleted because the second argument is a number of ranks. To give only a deadline, call mpi(world,
  /// mpi::as_launched, seconds).
  mpi(MPI_Comm, std::floating_point auto) = delete;

  /// Same as the constructor, but returns the error.
  [[nodiscard]] static result<mpi> make(MPI_Comm world, int expected_size = as_launched,
                                        double deadline_seconds = 300) {
    if (auto good = detail::check_mpi_world(world, expected_size, deadline_seconds); !good) {
      bool const bounded = deadline_seconds > 0 && deadline_seconds < 1e9;
      // Peers learn of the refusal at once instead of waiting for their deadline.
      if (detail::mpi_can_tell(world))
        static_cast<void>(
            detail::mpi_duplicate(world, bounded ? deadline_seconds : 300, detail::mpi_duplication::refuses));
      return good.error();
    }
    auto mine = detail::mpi_duplicate(world, deadline_seconds);
    if (!mine) return std::move(mine).error();
    return mpi(std::make_shared<communicator>(*mine));
  }

  /// Moves messages by a thread of its own while the caller computes. Without it they move in each step of
  /// the trainer only, as much as the network's buffers hold. Needs MPI_THREAD_MULTIPLE. The thread looks
  /// every 0.1 ms while messages are under way, and else sleeps.
  /// Error: MPI was initialized with a lower level.
  [[nodiscard]] result<> try_progress_in_background() {
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    if (level != MPI_THREAD_MULTIPLE) {
      return error{
          cause::wrong_state, rank(), 0,
          "diloco: mpi: a thread that moves messages needs MPI_THREAD_MULTIPLE, and MPI was initialized "
          "with less; ask MPI_Init_thread for it, or leave the thread out"};
    }
    state_->start_worker();
    return {};
  }
  void progress_in_background() { try_progress_in_background().value(); }

  [[nodiscard]] int rank() const { return state_->rank; }
  [[nodiscard]] int size() const { return state_->size; }

  using arrival = detail::slotted_arrival<communicator>;

  class pending {
   public:
    pending(pending&&) noexcept = default;
    pending& operator=(pending&& other) noexcept {
      pending taken(std::move(other));
      std::swap(state_, taken.state_);
      std::swap(operation_, taken.operation_);
      return *this;
    }
    ~pending() { abandon(); }

    /// Polls until all messages of this exchange are received and sent. Errors: ranks that are late, or in
    /// another exchange.
    result<arrival> wait(deadline d) {
      auto const since = std::chrono::steady_clock::now();
      auto& o = *operation_;
      if (detail::mpi_is_over()) {
        return lost(o.at(cause::wrong_state, state_->rank, "MPI was finalized before the exchange was over"));
      }
      for (int polls = 0; !is_complete(); ++polls) {
        auto const over = look();
        if (!over) return lost(over.error());
        if (*over) break;
        if (detail::is_past(d)) return lost(late(since, d));
        // Ranks share cores in tests and on laptops. After a short spin, this rank lets the others run.
        if (polls > 64) std::this_thread::yield();
      }
      auto const done = std::exchange(operation_, nullptr);
      return arrival(std::exchange(state_, nullptr), std::move(done->memory), done->members);
    }

    /// Takes and gives what can move now; never waits. Errors come with `wait`.
    void progress() {
      std::lock_guard const hold(state_->guard);
      state_->progress();
    }
    /// Whether all messages of this exchange have come and gone, as far as was looked.
    [[nodiscard]] bool is_complete() const {
      std::lock_guard const hold(state_->guard);
      return operation_->open == 0;
    }

   private:
    friend class mpi;
    [[nodiscard]] result<bool> look() {
      std::lock_guard const hold(state_->guard);
      return state_->look(*operation_);
    }
    pending(std::shared_ptr<communicator> state, std::shared_ptr<operation> o)
        : state_(std::move(state)), operation_(std::move(o)) {}

    /// Names the ranks whose message has not come. If all came, it names the ranks that have not taken this
    /// rank's message.
    [[nodiscard]] error late(deadline since, deadline d) const {
      std::lock_guard const hold(state_->guard);
      auto const& o = *operation_;
      std::vector<int> silent, deaf;
      for (std::size_t i = 0; i < o.peers.size(); ++i) {
        if (!o.matched[i] || o.requests[i] != MPI_REQUEST_NULL) silent.push_back(o.peers[i]);
        if (o.requests[o.peers.size() + i] != MPI_REQUEST_NULL) deaf.push_back(o.peers[i]);
      }
      auto& late = silent.empty() ? deaf : silent;
      std::sort(late.begin(), late.end());
      auto const what = silent.empty()
                            ? say({" did not take the part of rank ", state_->rank, " before the deadline"})
                            : " did not arrive before the deadline";
      return o.at(cause::timeout, state_->rank,
                  detail::names_of(late) + what + detail::waited(o.what.name(), since, d));
    }
    error lost(error e) {
      abandon();
      return e;
    }
    /// MPI may still read and write the buffers, now or never, so buffers and communicator are given up. Late
    /// messages are still received, so that the messages behind them find their exchange. After MPI_Finalize
    /// nothing is written any more.
    void abandon() noexcept {
      if (operation_ == nullptr) return;
      auto const o = std::exchange(operation_, nullptr);
      auto const state = std::exchange(state_, nullptr);
      std::lock_guard const hold(state->guard);
      std::erase(state->running, o);
      if (o->open == 0 || detail::mpi_is_over()) return;
      if (auto const over = state->look(*o); over && *over) return;
      o->memory.send.leak();
      o->memory.receive.leak();
      state->abandoned = true;
    }

    std::shared_ptr<communicator> state_;
    std::shared_ptr<operation> operation_;
  };

  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) {
    return start(std::move(w), {detail::mpi_exchange::gather, tag}, members::all(size()));
  }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) {
    return start(std::move(w), {detail::mpi_exchange::scatter, tag}, members::all(size()));
  }
  [[nodiscard]] pending all_gather(wires w, rank_group g, exchange_tag tag) {
    return start(std::move(w), {detail::mpi_exchange::gather, tag}, {g});
  }
  [[nodiscard]] pending all_to_all(wires w, rank_group g, exchange_tag tag) {
    return start(std::move(w), {detail::mpi_exchange::scatter, tag}, {g});
  }
  [[nodiscard]] pending exchange(wires w, int partner, exchange_tag tag) {
    if (partner < 0 || partner >= size()) {
      raise({cause::bad_setting, rank(), static_cast<long>(tag.round),
             say({"diloco: mpi: round ", tag.round, ": there is no rank ", partner, " in a world of ",
                  size()})});
    }
    return start(std::move(w), {detail::mpi_exchange::pair, tag}, members::pair_of(rank(), partner));
  }

 private:
  explicit mpi(std::shared_ptr<communicator> state) : state_(std::move(state)) {}

  /// Order: copies this rank's own slot, enqueues the rest. Each rank sends to the next member first, so
  /// that not all send to the first.
  pending start(wires w, detail::mpi_exchange e, members const& m) {
    if (detail::mpi_is_over()) {
      raise({cause::wrong_state, rank(), static_cast<long>(e.tag.round),
             say({"diloco: mpi: round ", e.tag.round,
                  ": MPI was finalized; let the trainer end before MPI_Finalize"})});
    }
    bool const cut = e.kind == detail::mpi_exchange::scatter;
    int const count = m.ranks.count, place = m.ranks.place_of(rank());
    std::size_t const slot = w.send.size() / static_cast<std::size_t>(cut ? count : 1);
    auto o = std::make_shared<operation>();
    o->memory = std::move(w), o->what = e, o->members = m, o->slot = slot, o->cut = cut;
    for (int i = 1; i < count; ++i) o->peers.push_back(m.ranks.rank((place + i) % count));
    o->prepare();
    std::size_t const room = slot * static_cast<std::size_t>(m.pair ? count - 1 : count);
    if (o->memory.receive.size() < room) {
      raise(
          o->at(cause::bad_setting, rank(),
                say({"the buffer to receive in has ", o->memory.receive.size(), " bytes and needs ", room})));
    }
    std::size_t const own = static_cast<std::size_t>(place) * slot;
    if (!m.pair && slot != 0) std::memcpy(o->to + own, o->from + (cut ? own : 0), slot);
    state_->post(o);
    return {state_, std::move(o)};
  }

  std::shared_ptr<communicator> state_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
