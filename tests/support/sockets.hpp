// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/rendezvous.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <thread>

/// Loopback sockets for tests of the rendezvous.
namespace sockets {

inline constexpr char const* host = "127.0.0.1";

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
inline void nap(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

inline sockaddr_in at(int port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<std::uint16_t>(port));
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}
/// A listening socket. The system chooses the port.
inline diloco::detail::descriptor listener(int& port) {
  diloco::detail::descriptor s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a = at(0);
  socklen_t length = sizeof a;
  REQUIRE(::bind(s.get(), reinterpret_cast<sockaddr*>(&a), length) == 0);
  REQUIRE(::listen(s.get(), 8) == 0);
  REQUIRE(::getsockname(s.get(), reinterpret_cast<sockaddr*>(&a), &length) == 0);
  port = ntohs(a.sin_port);
  return s;
}
inline int free_port() {
  int port = 0;
  (void)listener(port);
  return port;
}

}  // namespace sockets
