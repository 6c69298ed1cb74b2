// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/executor/host.hpp>
#include <diloco/transport/threads.hpp>

#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

/// A fake device for worst cases. The host cannot touch its memory: a fault ends the test. Enqueued work runs
/// only when the host waits.
/// It shows whether the trainer reads the wrong memory or forgets to wait. thread_lanes show that a kernel
/// gives the same bits on 32 lanes.
class device_memory {
 public:
  static std::byte* take(std::size_t bytes) {
    std::lock_guard const lock(guard());
    static std::size_t used = 0;
    std::size_t const at = used;
    used += (bytes + 255) / 256 * 256;
    if (used > reserved) throw std::bad_alloc();
    return region() + at;
  }
  static bool holds(void const* p) { return p >= region() && p < region() + reserved; }
  /// Kernels can run while an object of this class exists.
  class open {
   public:
    open() {
      std::lock_guard const lock(guard());
      if (users()++ == 0) protect(PROT_READ | PROT_WRITE);
    }
    ~open() {
      std::lock_guard const lock(guard());
      if (--users() == 0) protect(PROT_NONE);
    }
    open(open const&) = delete;
    open& operator=(open const&) = delete;
  };

 private:
  static constexpr std::size_t reserved = std::size_t{1} << 30;
  static std::byte* region() {
    static std::byte* const at = static_cast<std::byte*>(
        ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    return at;
  }
  static void protect(int how) { ::mprotect(region(), reserved, how); }
  static std::mutex& guard() {
    static std::mutex m;
    return m;
  }
  static int& users() {
    static int n = 0;
    return n;
  }
};

class lazy_device {
 public:
  static constexpr std::string_view name = "lazy_device";
  static constexpr bool columns_on_host = false;
  static constexpr diloco::executor_traits traits{};

  [[nodiscard]] diloco::buffer allocate(std::size_t bytes) const {
    return {device_memory::take(bytes), bytes,
            [](std::byte*, std::size_t, void*) noexcept {}};  // zeroed, and never freed
  }
  [[nodiscard]] diloco::buffer allocate_wire(std::size_t bytes) const {
    return diloco::cpp{}.allocate(bytes);
  }
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    queue_->push_back([n, kernel] {
      for (std::size_t i = 0; i < n; ++i) kernel(diloco::solo{}, i);
    });
  }
  void copy_to_host(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void copy_from_host(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void wait() const {
    waits_->fetch_add(1);
    run();
  }
  /// Runs what is enqueued, as a stream does without a host that waits.
  void run() const {
    device_memory::open const kernels;
    for (auto const& each : *queue_) each();
    queue_->clear();
  }
  [[nodiscard]] int waits() const { return *waits_; }

 private:
  void copy(void* to, void const* from, std::size_t bytes) const {
    queue_->push_back([=] { std::memcpy(to, from, bytes); });
  }
  std::shared_ptr<std::vector<std::function<void()>>> queue_ =
      std::make_shared<std::vector<std::function<void()>>>();
  std::shared_ptr<std::atomic<int>> waits_ = std::make_shared<std::atomic<int>>(0);
};
static_assert(diloco::executor<lazy_device>);

/// Threads with messages in device memory.
class device_threads {
 public:
  static constexpr std::string_view name = "device_threads";
  static constexpr bool receives_in_place = diloco::threads::receives_in_place;
  static constexpr diloco::transport_traits traits{.wires = diloco::transport_traits::place::on_device,
                                                   .follows_executor = true};
  explicit device_threads(diloco::threads inner) : inner_(std::move(inner)) {}
  [[nodiscard]] int rank() const { return inner_.rank(); }
  [[nodiscard]] int size() const { return inner_.size(); }
  static void after(lazy_device const& where) { where.run(); }
  template <class E>
  static void after(E const& where) {
    static_cast<lazy_device const&>(where).run();
  }
  [[nodiscard]] auto all_gather(diloco::wires w, diloco::exchange_tag tag) {
    return inner_.all_gather(on_device(std::move(w)), tag);
  }
  [[nodiscard]] auto all_to_all(diloco::wires w, diloco::exchange_tag tag) {
    return inner_.all_to_all(on_device(std::move(w)), tag);
  }
  [[nodiscard]] auto exchange(diloco::wires w, int partner, diloco::exchange_tag tag) {
    return inner_.exchange(on_device(std::move(w)), partner, tag);
  }

 private:
  static diloco::wires on_device(diloco::wires w) {
    if (!device_memory::holds(w.send.data()))
      throw std::logic_error("a wire that should lie on the device does not");
    return w;
  }
  diloco::threads inner_;
};
