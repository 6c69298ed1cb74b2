// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/executor/host.hpp>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

namespace support {

/// A fake device that checks whether a suite keeps everything its kernels touch in the arena. A kernel runs
/// in its own process, which shares only the arena. What it writes elsewhere is lost, and its caller's stack
/// contains garbage.
/// Build with -DDILOCO_TEST_FORKED and support/forked_main.cpp instead of doctest_main.cpp.
struct forked_lanes {
  static constexpr std::string_view name = "forked_lanes";
  static constexpr bool columns_on_host = true;
  static constexpr diloco::executor_traits traits{};
  [[nodiscard]] diloco::buffer allocate(std::size_t bytes) const { return diloco::cpp{}.allocate(bytes); }
  [[nodiscard]] diloco::buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }

  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    thread_local char* const end = stack_end();
    pid_t const child = fork();
    if (child == 0) run(n, kernel, end);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
      throw std::runtime_error("the kernel crashed");
  }
  void wait() const {}

 private:
  static char* stack_end() {
    pthread_attr_t attributes;
    void* begin = nullptr;
    std::size_t bytes = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &begin, &bytes);
    pthread_attr_destroy(&attributes);
    // A thread's own control block is at the end of its stack.
    return static_cast<char*>(begin) + bytes - (gettid() == getpid() ? 0 : 4096);
  }
  template <class Kernel>
  [[noreturn, gnu::noinline]] static void run(std::size_t n, Kernel kernel, char* end) {
    // The argument's copy is on that stack too.
    static unsigned char kept[sizeof(Kernel)];
    std::memcpy(kept, &kernel, sizeof kernel);
    auto* const frames = static_cast<char*>(__builtin_frame_address(0)) + 64;
    std::memset(frames, 0xee, static_cast<std::size_t>(end - frames));
    alignas(Kernel) unsigned char own[sizeof(Kernel)];
    std::memcpy(own, kept, sizeof kept);
    Kernel const& again = *reinterpret_cast<Kernel const*>(own);
    for (std::size_t i = 0; i < n; ++i) again(diloco::solo{}, i);
    _exit(0);
  }
};

}  // namespace support
