// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/late.hpp>
#include <diloco/transport/detail/slotted_arrival.hpp>

#if !defined(OMPI_SKIP_MPICXX)
#define OMPI_SKIP_MPICXX 1  // Open MPI's removed C++ bindings would have to be linked
#endif
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Whether MPI_Finalize was called. After it only this MPI call is allowed.
inline bool mpi_is_over() {
  int off = 0;
  MPI_Finalized(&off);
  return off != 0;
}
inline std::string mpi_words(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return text.data();
}

/// The exchange that a message belongs to.
struct mpi_exchange {
  enum operation : int { gather, scatter, pair };
  operation kind = gather;
  exchange_tag tag;
  [[nodiscard]] std::string_view name() const {
    return kind == gather ? "all_gather" : kind == scatter ? "all_to_all" : "exchange";
  }
  [[nodiscard]] std::string text() const { return say({name(), " of ", tag.text(), " phase ", tag.phase}); }
};

/// Packs an exchange into a message's tag: 2 bits of operation, 4 of phase, the rest of the round. MPI
/// promises 15 bits in all; Open MPI and MPICH give 28 and more. Rounds that differ by a multiple of `rounds`
/// have equal tags. The message header tells these apart.
struct mpi_tags {
  std::uint64_t rounds = 512;

  explicit mpi_tags(MPI_Comm c) {
    int* most = nullptr;
    int found = 0;
    MPI_Comm_get_attr(c, MPI_TAG_UB, &most, &found);
    if (found != 0 && *most > 32767) rounds = (static_cast<std::uint64_t>(*most) + 1) / 64;
  }
  [[nodiscard]] int pack(mpi_exchange e) const {
    return static_cast<int>((e.tag.round % rounds) * 64 + (e.tag.phase % 16) * 4 +
                            static_cast<std::uint64_t>(e.kind));
  }
  /// Of the rounds with this tag, returns the one nearest to `near`.
  [[nodiscard]] mpi_exchange unpack(int tag, std::uint64_t near) const {
    auto const bits = static_cast<std::uint64_t>(tag);
    std::uint64_t const ahead = (bits / 64 + rounds - near % rounds) % rounds;
    bool const behind = ahead > rounds / 2 && near + ahead >= rounds;
    auto const kind = static_cast<mpi_exchange::operation>(bits % 4);
    return {kind, {behind ? near + ahead - rounds : near + ahead, static_cast<std::uint32_t>(bits / 4 % 16)}};
  }
};

/// MPI-3 counts are ints. Slots are multiples of 16 bytes (or of 8, for digests), so a slot is counted in
/// these units.
struct mpi_slot {
  explicit mpi_slot(std::size_t bytes) {
    std::size_t const unit = bytes % 16 == 0 ? 16 : 8;
    if (bytes % unit != 0 || bytes / unit > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
      raise({cause::transport, 0, 0,
             say({"diloco: mpi: a slot of ", bytes, " bytes is not a multiple of 8 below 32 GiB"})});
    }
    count = static_cast<int>(bytes / unit);
    MPI_Type_contiguous(static_cast<int>(unit), MPI_BYTE, &type);
    MPI_Type_commit(&type);
  }
  mpi_slot(mpi_slot const&) = delete;
  mpi_slot& operator=(mpi_slot const&) = delete;
  ~mpi_slot() {
    if (!mpi_is_over()) MPI_Type_free(&type);  // MPI keeps the type until its messages complete
  }
  int count = 0;
  MPI_Datatype type = MPI_DATATYPE_NULL;
};

/// One exchange: a message from each peer and one to each peer. It owns its buffers until it is complete.
struct mpi_operation {
  wires memory;
  mpi_exchange what;
  exchange_members members;
  std::size_t slot = 0;    // bytes of one message
  bool cut = false;        // whether slot i of `send` goes to member i
  std::vector<int> peers;  // in the order of sending
  std::optional<mpi_slot> unit;
  std::vector<char> matched;          // whether each peer's message was taken
  std::vector<MPI_Request> requests;  // first the receives, then the sends, by peer
  std::vector<int> done;              // for MPI_Testsome
  std::vector<MPI_Status> statuses;   // for MPI_Testsome
  std::byte *from = nullptr, *to = nullptr;
  int open = 0;  // incomplete requests
  std::optional<error> failed;

  [[nodiscard]] std::size_t place(std::size_t i) const {
    return static_cast<std::size_t>(members.ranks.place_of(peers[i])) * slot;
  }
  [[nodiscard]] error at(cause c, int rank, std::string_view text) const {
    return {c, rank, static_cast<long>(what.tag.round),
            say({"diloco: mpi: ", what.tag.text(), " phase ", what.tag.phase, ": ", text})};
  }
  void fail(error e) {
    if (!failed) failed = std::move(e);
  }
  /// Allocates all memory that posting needs, so that nothing throws once a message is being sent.
  void prepare() {
    std::size_t const n = peers.size();
    unit.emplace(slot);
    matched.assign(n, 0);
    requests.assign(2 * n, MPI_REQUEST_NULL);
    done.resize(2 * n);
    statuses.resize(2 * n);
    from = memory.send.data(), to = memory.receive.data();
    open = static_cast<int>(2 * n);
  }
};

/// The transport's own communicator and its open exchanges.
struct mpi_communicator {
  explicit mpi_communicator(MPI_Comm c) : handle(c), tags(c) {
    MPI_Comm_rank(c, &rank);
    MPI_Comm_size(c, &size);
    asked.resize(static_cast<std::size_t>(size));
  }
  mpi_communicator(mpi_communicator const&) = delete;
  mpi_communicator& operator=(mpi_communicator const&) = delete;
  /// MPI_Comm_free is formally collective; the standard says that in practice it is local. With a request
  /// that never completed it could wait for its peer. So such a communicator is not freed.
  ~mpi_communicator() {
    stop_worker();
    if (!mpi_is_over() && !abandoned) MPI_Comm_free(&handle);
  }
  MPI_Comm handle;
  mpi_tags tags;
  int rank = 0, size = 0;
  bool abandoned = false;
  std::vector<char> asked;
  // Exchanges whose messages were not all taken yet, oldest first.
  std::deque<std::shared_ptr<mpi_operation>> waiting;
  // A thread that looks after open exchanges, if the caller wants one. `guard` protects all members then.
  std::mutex guard;
  std::condition_variable wake;
  std::vector<std::shared_ptr<mpi_operation>> running;
  std::thread worker;
  bool stops = false;

  /// Order: returns at once. The thread looks every 0.1 ms while messages are under way, and else sleeps.
  void start_worker() {
    if (worker.joinable()) return;
    worker = std::thread([this] {
      std::unique_lock hold(guard);
      while (!stops) {
        if (running.empty()) {
          wake.wait(hold);
          continue;
        }
        progress();
        hold.unlock();
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        hold.lock();
      }
    });
  }
  void stop_worker() {
    if (!worker.joinable()) return;
    {
      std::lock_guard const hold(guard);
      stops = true;
    }
    wake.notify_all();
    worker.join();
  }
  /// Looks once at each open exchange. An error waits for its `wait`.
  void progress() {
    for (auto const& o : running) {
      if (mpi_is_over() || o->failed) continue;
      if (auto const over = look(*o); !over) o->fail(over.error());
    }
    std::erase_if(running, [](auto const& o) { return o->open == 0 || o->failed; });
  }

  /// Order: enqueues the sends. A receive begins in `take`, when its message is seen.
  void post(std::shared_ptr<mpi_operation> const& o) {
    std::size_t const n = o->peers.size();
    if (n == 0) return;
    std::lock_guard const hold(guard);
    waiting.push_back(o);
    running.push_back(o);
    wake.notify_all();
    int const tag = tags.pack(o->what);
    for (std::size_t i = 0; i < n; ++i) {
      int const code = MPI_Isend(o->from + (o->cut ? o->place(i) : 0), o->unit->count, o->unit->type,
                                 o->peers[i], tag, handle, &o->requests[n + i]);
      if (code != MPI_SUCCESS)
        return o->fail(o->at(cause::transport, rank, "MPI_Isend failed: " + mpi_words(code)));
    }
  }
  /// Probes once each peer that an exchange waits for. Messages between two ranks come in the order of their
  /// calls. So a peer's next message belongs to the oldest exchange that lacks one from it.
  /// Tag and length are compared before a byte is received, because Open MPI 4.1 writes past the end of a
  /// buffer that is too small.
  void take() {
    std::fill(asked.begin(), asked.end(), char{0});
    for (auto const& o : waiting) {
      for (std::size_t i = 0; i < o->peers.size(); ++i) {
        char& seen = asked[static_cast<std::size_t>(o->peers[i])];
        if (o->matched[i] || std::exchange(seen, char{1}) || o->failed) continue;
        take_from(*o, i);
      }
    }
    std::erase_if(waiting, [](auto const& o) {
      return std::all_of(o->matched.begin(), o->matched.end(), [](char m) { return m != 0; });
    });
  }
  void take_from(mpi_operation& o, std::size_t i) {
    int here = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    int code = MPI_Improbe(o.peers[i], MPI_ANY_TAG, handle, &here, &message, &status);
    if (code == MPI_SUCCESS && here == 0) return;
    if (code == MPI_SUCCESS) {
      if (auto fine = judge(o, o.peers[i], status); !fine) return o.fail(std::move(fine).error());
      std::byte* const to = o.to + (o.members.pair ? 0 : o.place(i));
      o.matched[i] = 1;
      code = MPI_Imrecv(to, o.unit->count, o.unit->type, &message, &o.requests[i]);
    }
    if (code != MPI_SUCCESS) {
      o.fail(o.at(cause::transport, rank,
                  say({"receiving from rank ", o.peers[i], " failed: ", mpi_words(code)})));
    }
  }
  /// Errors: the message belongs to another exchange, or has another length.
  [[nodiscard]] result<> judge(mpi_operation const& o, int peer, MPI_Status const& status) const {
    std::string_view const advice = "; every rank must make the same calls in the same order";
    if (status.MPI_TAG != tags.pack(o.what)) {
      return o.at(cause::disagreement, rank,
                  say({"rank ", peer, " is in ", tags.unpack(status.MPI_TAG, o.what.tag.round).text(),
                       " and rank ", rank, " in ", o.what.text(), advice}));
    }
    MPI_Count bytes = 0;
    MPI_Get_elements_x(&status, MPI_BYTE, &bytes);
    if (static_cast<std::size_t>(bytes) == o.slot) return {};
    return o.at(cause::disagreement, rank,
                say({"rank ", peer, " sent ", static_cast<std::uint64_t>(bytes), " bytes and rank ", rank,
                     " waits for ", o.slot, " in ", o.what.name(), advice}));
  }
  /// Whether all messages of the exchange are received and sent. Errors: an MPI failure, or a peer in another
  /// exchange.
  [[nodiscard]] result<bool> look(mpi_operation& o) {
    take();
    int count = 0;
    if (o.failed) return *o.failed;
    int const code = MPI_Testsome(static_cast<int>(o.requests.size()), o.requests.data(), &count,
                                  o.done.data(), o.statuses.data());
    if (code != MPI_SUCCESS)
      return o.at(cause::transport, rank, "MPI_Testsome failed: " + words_of(code, o, count));
    // Where no request is active, count is MPI_UNDEFINED, which is negative.
    if (count > 0) o.open -= count;
    return o.open == 0;
  }
  [[nodiscard]] static std::string words_of(int code, mpi_operation const& o, int count) {
    for (std::size_t k = 0; code == MPI_ERR_IN_STATUS && k < static_cast<std::size_t>(std::max(count, 0));
         ++k) {
      if (o.statuses[k].MPI_ERROR != MPI_SUCCESS) return mpi_words(o.statuses[k].MPI_ERROR);
    }
    return mpi_words(code);
  }
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
