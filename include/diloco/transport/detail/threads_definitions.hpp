// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/thread_exchange.hpp>
#include <diloco/transport/threads.hpp>

#include <exception>
#include <thread>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

DILOCO_CORE threads& threads::operator=(threads&& other) noexcept {
  if (this == &other) return *this;
  leave();
  world_ = std::move(other.world_);
  rank_ = other.rank_;
  next_ = other.next_;
  return *this;
}

DILOCO_CORE threads::~threads() { leave(); }

DILOCO_CORE int threads::size() const { return world_->size(); }

DILOCO_CORE threads::pending threads::exchange(wires w, int partner, exchange_tag tag) {
  int const first = rank_ < partner ? rank_ : partner, last = rank_ < partner ? partner : rank_;
  rank_group const pair = first == last ? rank_group{rank_, 1, 1} : rank_group{first, 2, last - first};
  return post_among(std::move(w), pair, true, tag, false);
}

DILOCO_CORE threads::pending threads::post_among(wires w, rank_group members, bool pair, exchange_tag tag,
                                                 bool cut) {
  auto const place = world_->post_among(members, pair, rank_, w.send.bytes(), tag, cut);
  return pending({world_, rank_, place, std::move(w)});
}

DILOCO_CORE threads::pending threads::post(wires w, exchange_tag tag, bool cut) {
  auto const place = world_->post(next_++, rank_, w.send.bytes(), tag, cut);
  return pending({world_, rank_, place, std::move(w)});
}

DILOCO_CORE void threads::leave() {
  if (world_ != nullptr) world_->leave(rank_);
}

DILOCO_CORE threads::arrival& threads::arrival::operator=(arrival&& other) noexcept {
  abandon();
  mine_ = std::move(other.mine_);
  read_ = other.read_;
  return *this;
}

DILOCO_CORE std::span<int const> threads::arrival::roster() const { return mine_.world->roster(mine_.place); }

DILOCO_CORE std::span<std::byte const> threads::arrival::message(int k) const {
  return mine_.world->message(mine_.place, k, mine_.rank);
}

DILOCO_CORE void threads::arrival::done() {
  if (!std::exchange(read_, true)) mine_.world->read(mine_.place, mine_.rank);
}

DILOCO_CORE result<wires> threads::arrival::reclaim(deadline d) && {
  done();
  if (auto free = mine_.world->wait_until_read(mine_.place, mine_.rank, d); !free)
    return std::move(free).error();
  mine_.world.reset();
  return std::move(mine_.memory);
}

DILOCO_CORE void threads::arrival::abandon() {
  if (mine_.world == nullptr) return;
  done();
  mine_.world->adopt(mine_.place, mine_.rank, std::move(mine_.memory));
  mine_.world.reset();
}

DILOCO_CORE threads::pending& threads::pending::operator=(pending&& other) noexcept {
  drop();
  mine_ = std::move(other.mine_);
  return *this;
}

DILOCO_CORE result<threads::arrival> threads::pending::wait(deadline d) {
  if (auto here = mine_.world->wait(mine_.place, mine_.rank, d); !here) return std::move(here).error();
  return arrival(std::move(mine_));
}

DILOCO_CORE void threads::pending::drop() {
  if (mine_.world != nullptr) mine_.world->drop(mine_.place, mine_.rank, std::move(mine_.memory));
  mine_.world.reset();
}

DILOCO_CORE threads_world::threads_world(int size) {
  if (size < 1) {
    raise({cause::bad_setting, 0, 0,
           say({"diloco: threads_world: ", size, " workers; there must be at least 1"})});
  }
  world_ = std::make_shared<detail::thread_exchange>(size);
}

DILOCO_CORE int threads_world::size() const { return world_->size(); }

DILOCO_CORE threads threads_world::transport(int rank) {
  if (rank < 0 || rank >= size()) {
    raise({cause::bad_setting, rank, 0,
           say({"diloco: threads_world: there is no rank ", rank, " in a world of ", size()})});
  }
  if (!world_->take(rank)) {
    raise({cause::bad_setting, rank, 0, say({"diloco: threads_world: rank ", rank, " was taken before"})});
  }
  return threads(world_, rank);
}

DILOCO_CORE void threads_world::leave(int rank) { world_->leave(rank); }

#if DILOCO_EXCEPTIONS
DILOCO_CORE void detail::run_on_threads(int size, void (*call)(void* worker, threads end), void* worker) {
  threads_world world(size);
  std::exception_ptr first;
  std::mutex guard;
  {
    std::vector<std::jthread> pool;
    for (int rank = 0; rank < size; ++rank) {
      pool.emplace_back([call, worker, &first, &guard, &world, end = world.transport(rank)]() mutable {
        int const own = end.rank();
        try {
          call(worker, std::move(end));
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
