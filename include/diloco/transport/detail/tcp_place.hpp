// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/meeting.hpp>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The address of rank 0, and the greeting of this rank.
struct tcp_place {
  hello self;
  std::string address;
  int port = 0;
  [[nodiscard]] std::string where() const { return say({address, ":", port}); }
  [[nodiscard]] error failure(cause what, std::initializer_list<piece> pieces) const {
    return {what, self.rank, 0, "diloco: rendezvous: " + say(pieces)};
  }
};

/// `waiting` and `gave_up` are followed by the missing ranks, `welcome` by the bytes.
enum class verdict : int {
  welcome,
  other_run,
  other_size,
  other_payload,
  no_such_rank,
  taken,
  waiting,
  gave_up
};
inline constexpr std::uint64_t answer_magic =
    0x3141'4f43'4f4c'4944ull;  // "DILOCOA1": a hello whose rank is the verdict

/// Polls until the deadline, but at most 100 ms, so that callers can check clocks. Returns those of `events`
/// that are true.
inline int wait_for(int fd, short events, deadline d) {
  auto const left =
      std::chrono::duration_cast<std::chrono::milliseconds>(d - std::chrono::steady_clock::now()).count();
  pollfd one{fd, events, 0};
  return ::poll(&one, 1, static_cast<int>(std::clamp<long long>(left, 0, 100))) > 0 ? one.revents : 0;
}

using addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;
inline addresses no_addresses() {
  return {nullptr, [](addrinfo* a) {
            if (a != nullptr) ::freeaddrinfo(a);
          }};
}
inline bool is_number(std::string const& address) {
  in6_addr a{};
  return ::inet_pton(AF_INET, address.c_str(), &a) == 1 || ::inet_pton(AF_INET6, address.c_str(), &a) == 1;
}

/// The system's resolver has no deadline, so a separate thread resolves a name. Nothing waits for that thread
/// after the deadline. `why` gets the resolver's error text.
inline addresses resolve(tcp_place const& place, deadline d, std::string& why) {
  struct question {
    std::mutex guard;
    std::condition_variable answered;
    bool over = false;
    int code = 0;
    addresses found = no_addresses();
  };
  auto const q = std::make_shared<question>();
  auto const ask = [q, address = place.address, port = say({place.port})] {
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (is_number(address)) hints.ai_flags = AI_NUMERICHOST;
    int const code = ::getaddrinfo(address.c_str(), port.c_str(), &hints, &found);
    std::lock_guard const lock(q->guard);
    q->code = code;
    if (code == 0) q->found.reset(found);
    q->over = true;
    q->answered.notify_all();
  };
  is_number(place.address) ? ask() : std::thread(ask).detach();
  std::unique_lock lock(q->guard);
  bool const in_time = q->answered.wait_until(lock, d, [&] { return q->over; });
  why = in_time ? ::gai_strerror(q->code) : "the system's resolver did not answer before the deadline";
  return in_time ? std::move(q->found) : no_addresses();
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
