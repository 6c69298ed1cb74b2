// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/thread_exchange.hpp>

#include <exception>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// One worker's end of a `threads_world`. Messages are read in place, so nothing is copied. A rank leaves
/// when its transport is destroyed. Then every exchange that still needs it fails at once, of all ranks or of
/// its pair.
class threads {
 public:
  static constexpr std::string_view name = "threads";
  static constexpr bool receives_in_place = true;
  static constexpr transport_traits traits{};

  threads(threads&& other) noexcept = default;
  threads& operator=(threads&& other) noexcept {
    if (this == &other) return *this;
    leave();
    world_ = std::move(other.world_);
    rank_ = other.rank_;
    next_ = other.next_;
    return *this;
  }
  ~threads() { leave(); }

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return world_->size(); }

  /// Delivered messages: spans into the peers' own buffers.
  class arrival {
   public:
    arrival(arrival&&) noexcept = default;
    arrival& operator=(arrival&& other) noexcept {
      abandon();
      mine_ = std::move(other.mine_);
      read_ = other.read_;
      return *this;
    }
    ~arrival() { abandon(); }
    [[nodiscard]] std::span<int const> roster() const { return mine_.world->roster(mine_.place); }
    [[nodiscard]] std::span<std::byte const> message(int k) const {
      return mine_.world->message(mine_.place, k, mine_.rank);
    }
    void done() {
      if (!std::exchange(read_, true)) mine_.world->read(mine_.place, mine_.rank);
    }
    result<wires> reclaim(deadline d) && {
      done();
      if (auto free = mine_.world->wait_until_read(mine_.place, mine_.rank, d); !free)
        return std::move(free).error();
      mine_.world.reset();
      return std::move(mine_.memory);
    }

   private:
    friend class threads;
    explicit arrival(detail::thread_claim mine) : mine_(std::move(mine)) {}
    void abandon() {
      if (mine_.world == nullptr) return;
      done();
      mine_.world->adopt(mine_.place, mine_.rank, std::move(mine_.memory));
      mine_.world.reset();
    }
    detail::thread_claim mine_;
    bool read_ = false;
  };

  class pending {
   public:
    pending(pending&&) noexcept = default;
    pending& operator=(pending&& other) noexcept {
      drop();
      mine_ = std::move(other.mine_);
      return *this;
    }
    ~pending() { drop(); }
    result<arrival> wait(deadline d) {
      if (auto here = mine_.world->wait(mine_.place, mine_.rank, d); !here) return std::move(here).error();
      return arrival(std::move(mine_));
    }

   private:
    friend class threads;
    explicit pending(detail::thread_claim mine) : mine_(std::move(mine)) {}
    void drop() {
      if (mine_.world != nullptr) mine_.world->drop(mine_.place, mine_.rank, std::move(mine_.memory));
      mine_.world.reset();
    }
    detail::thread_claim mine_;
  };

  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) { return post(std::move(w), tag, false); }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) { return post(std::move(w), tag, true); }
  [[nodiscard]] pending exchange(wires w, int partner, exchange_tag tag) {
    auto const place = world_->post_to(partner, rank_, w.send.bytes(), tag);
    return pending({world_, rank_, place, std::move(w)});
  }

 private:
  friend class threads_world;
  threads(std::shared_ptr<detail::thread_exchange> world, int rank) : world_(std::move(world)), rank_(rank) {}
  pending post(wires w, exchange_tag tag, bool cut) {
    auto const place = world_->post(next_++, rank_, w.send.bytes(), tag, cut);
    return pending({world_, rank_, place, std::move(w)});
  }
  void leave() {
    if (world_ != nullptr) world_->leave(rank_);
  }

  std::shared_ptr<detail::thread_exchange> world_;
  int rank_;
  std::uint64_t next_ = 0;
};

/// K workers in one process. Give `transport(rank)` to the worker's trainer. The world may be destroyed
/// before its transports.
class threads_world {
 public:
  explicit threads_world(int size) {
    if (size < 1) {
      raise({cause::bad_setting, 0, 0,
             say({"diloco: threads_world: ", size, " workers; there must be at least 1"})});
    }
    world_ = std::make_shared<detail::thread_exchange>(size);
  }
  [[nodiscard]] int size() const { return world_->size(); }

  /// Errors: a rank outside the world, or a rank that was taken before.
  [[nodiscard]] threads transport(int rank) {
    if (rank < 0 || rank >= size()) {
      raise({cause::bad_setting, rank, 0,
             say({"diloco: threads_world: there is no rank ", rank, " in a world of ", size()})});
    }
    if (!world_->take(rank)) {
      raise({cause::bad_setting, rank, 0, say({"diloco: threads_world: rank ", rank, " was taken before"})});
    }
    return threads(world_, rank);
  }

  /// Reports that this rank left, as the destruction of its transport does.
  void leave(int rank) { world_->leave(rank); }

 private:
  std::shared_ptr<detail::thread_exchange> world_;
};

#if DILOCO_EXCEPTIONS
/// Runs `worker(transport)` on K threads and joins them. A worker that throws counts as left, and the others
/// learn of it at once. The first exception in time is rethrown. The errors of the others usually only say
/// that they lost that worker.
template <class Worker>
void run_threads(int size, Worker&& worker) {
  threads_world world(size);
  std::exception_ptr first;
  std::mutex guard;
  {
    std::vector<std::jthread> pool;
    for (int rank = 0; rank < size; ++rank) {
      pool.emplace_back([&worker, &first, &guard, &world, end = world.transport(rank)]() mutable {
        int const own = end.rank();
        try {
          worker(std::move(end));
        } catch (...) {
          {
            std::lock_guard const lock(guard);
            if (first == nullptr) first = std::current_exception();
          }
          // The transport may still live in a trainer that the caller owns.
          world.leave(own);
        }
      });
    }
  }
  if (first != nullptr) std::rethrow_exception(first);
}
#endif

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
