// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/thread_claim.hpp>

#include <memory>

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
  threads& operator=(threads&& other) noexcept;
  ~threads();

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const;

  /// Delivered messages: spans into the peers' own buffers.
  class arrival {
   public:
    arrival(arrival&&) noexcept = default;
    arrival& operator=(arrival&& other) noexcept;
    ~arrival() { abandon(); }
    [[nodiscard]] std::span<int const> roster() const;
    [[nodiscard]] std::span<std::byte const> message(int k) const;
    void done();
    result<wires> reclaim(deadline d) &&;

   private:
    friend class threads;
    explicit arrival(detail::thread_claim mine) : mine_(std::move(mine)) {}
    void abandon();
    detail::thread_claim mine_;
    bool read_ = false;
  };

  class pending {
   public:
    pending(pending&&) noexcept = default;
    pending& operator=(pending&& other) noexcept;
    ~pending() { drop(); }
    result<arrival> wait(deadline d);

   private:
    friend class threads;
    explicit pending(detail::thread_claim mine) : mine_(std::move(mine)) {}
    void drop();
    detail::thread_claim mine_;
  };

  [[nodiscard]] pending all_gather(wires w, exchange_tag tag) { return post(std::move(w), tag, false); }
  [[nodiscard]] pending all_to_all(wires w, exchange_tag tag) { return post(std::move(w), tag, true); }
  [[nodiscard]] pending all_gather(wires w, rank_group g, exchange_tag tag) {
    return post_among(std::move(w), g, false, tag, false);
  }
  [[nodiscard]] pending all_to_all(wires w, rank_group g, exchange_tag tag) {
    return post_among(std::move(w), g, false, tag, true);
  }
  [[nodiscard]] pending exchange(wires w, int partner, exchange_tag tag);

 private:
  friend class threads_world;
  threads(std::shared_ptr<detail::thread_exchange> world, int rank) : world_(std::move(world)), rank_(rank) {}
  pending post(wires w, exchange_tag tag, bool cut);
  pending post_among(wires w, rank_group members, bool pair, exchange_tag tag, bool cut);
  void leave();

  std::shared_ptr<detail::thread_exchange> world_;
  int rank_;
  std::uint64_t next_ = 0;
};

/// K workers in one process. Give `transport(rank)` to the worker's trainer. The world may be destroyed
/// before its transports.
class threads_world {
 public:
  explicit threads_world(int size);
  [[nodiscard]] int size() const;

  /// Errors: a rank outside the world, or a rank that was taken before.
  [[nodiscard]] threads transport(int rank);

  /// Reports that this rank left, as the destruction of its transport does.
  void leave(int rank);

 private:
  std::shared_ptr<detail::thread_exchange> world_;
};

#if DILOCO_EXCEPTIONS
namespace detail {
/// run_threads with the worker's type erased: each thread calls `call(worker, its transport)`.
void run_on_threads(int size, void (*call)(void* worker, threads end), void* worker);
}  // namespace detail

/// Runs `worker(transport)` on K threads and joins them. A worker that throws counts as left, and the others
/// learn of it at once. The first exception in time is rethrown. The errors of the others usually only say
/// that they lost that worker.
template <class Worker>
void run_threads(int size, Worker&& worker) {
  auto call = [&worker](threads end) { worker(std::move(end)); };
  detail::run_on_threads(
      size, [](void* w, threads end) { (*static_cast<decltype(call)*>(w))(std::move(end)); }, &call);
}
#endif

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/transport/detail/threads_definitions.hpp>
#endif
