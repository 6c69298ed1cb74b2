// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/meeting.hpp>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <list>
#include <memory>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Where rank 0 is, and who comes.
struct tcp_place {
  hello self;
  std::string address;
  int port = 0;
  [[nodiscard]] std::string where() const { return say({address, ":", port}); }
  [[nodiscard]] error failure(cause what, std::initializer_list<piece> pieces) const {
    return {what, self.rank, 0, "diloco: rendezvous: " + say(pieces)};
  }
};

enum class verdict : int { welcome, other_run, other_size, other_payload, no_such_rank, taken };
inline constexpr std::uint64_t answer_magic =
    0x3141'4f43'4f4c'4944ull;  // "DILOCOA1": a hello whose rank is the verdict

/// Up to timeout (and 100 ms at most, so that clocks are looked at): what of `events` is true.
inline int wait_for(int fd, short events, deadline d) {
  auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(d - std::chrono::steady_clock::now()).count();
  pollfd one{fd, events, 0};
  return ::poll(&one, 1, static_cast<int>(std::clamp<long long>(left, 0, 100))) > 0 ? one.revents : 0;
}

using addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

/// `code`: of getaddrinfo, which asks the system's resolver and has no deadline.
inline addresses resolve(tcp_place const& place, int& code) {
  addrinfo hints{}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  code = ::getaddrinfo(place.address.c_str(), say({place.port}).c_str(), &hints, &found);
  return {code == 0 ? found : nullptr, [](addrinfo* a) {
            if (a != nullptr) ::freeaddrinfo(a);
          }};
}

/// Rank 0's side. One thread and nonblocking sockets: nobody who connects can make the others wait. A connection that has
/// not said who it is within two seconds is dropped, as is the oldest of more than 64 such.
class tcp_host {
 public:
  tcp_host(tcp_place const& place, std::span<std::byte const> bytes) : place_(place), bytes_(bytes) {}

  result<> run(deadline d) {
    if (auto open = listen(d); !open) return open;
    while (here() < place_.self.size - 1) {
      if (is_past(d)) return missing();
      turn(d);
    }
    listener_ = descriptor();
    return hand_over(d);
  }

 private:
  struct guest {
    descriptor socket;
    deadline patience;
    int rank = -1;  // not known yet
    std::size_t got = 0;
    hello::packed said{};
    bool gone = false;
  };
  static constexpr std::size_t most_unknown = 64;

  /// Numbers, and localhost, are taken at their word: on loopback nobody from outside is heard. By a name of its own a machine
  /// often finds 127.0.1.1, where the others find its address, so there and where the numbers are not its own (behind a
  /// translation) it listens at all addresses. A second for a port that is just being let go.
  result<> listen(deadline d) {
    int code = 0;
    addresses const found = resolve(place_, code);
    if (found == nullptr) {
      return place_.failure(cause::bad_setting, {"the address '", place_.address,
                                                 "' of rank 0 (MASTER_ADDR) cannot be "
                                                 "resolved: ",
                                                 ::gai_strerror(code)});
    }
    for (deadline const last = std::min(d, deadline_after(1));;) {
      int why = 0;
      for (addrinfo const* a = found.get(); a != nullptr && !listener_; a = a->ai_next) {
        if (is_literal()) listener_ = bound(a->ai_addr, a->ai_addrlen, why);
        if (!is_literal() || (!listener_ && why == EADDRNOTAVAIL)) listener_ = bound_anywhere(why);
      }
      if (listener_) return {};
      if (why == EADDRINUSE && !is_past(last)) {
        pause(0.05, last);
        continue;
      }
      if (why == EADDRINUSE) {
        return place_.failure(cause::bad_setting, {"the port of ", place_.where(),
                                                   " (MASTER_PORT) is in use; choose "
                                                   "another, the same for every rank"});
      }
      return place_.failure(cause::transport, {"rank 0 cannot listen at ", place_.where(), ": ", std::strerror(why)});
    }
  }
  static descriptor bound(sockaddr const* address, socklen_t length, int& why) {
    descriptor s(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    int const on = 1, off = 0;  // connections of an earlier run may linger for minutes
    if (s && address->sa_family == AF_INET6) ::setsockopt(s.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (s && ::setsockopt(s.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(s.get(), address, length) == 0 && ::listen(s.get(), 512) == 0) {
      return s;
    }
    why = errno;
    return {};
  }
  [[nodiscard]] bool is_literal() const {
    in6_addr a{};
    char const* const text = place_.address.c_str();
    return place_.address == "localhost" || ::inet_pton(AF_INET, text, &a) == 1 || ::inet_pton(AF_INET6, text, &a) == 1;
  }
  /// Of both kinds, or of the old kind where there is no other.
  [[nodiscard]] descriptor bound_anywhere(int& why) const {
    auto const port = htons(static_cast<std::uint16_t>(place_.port));
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET, v4.sin_port = port;
    v6.sin6_family = AF_INET6, v6.sin6_port = port;
    descriptor both = bound(reinterpret_cast<sockaddr const*>(&v6), sizeof v6, why);
    if (both || why == EADDRINUSE) return both;
    return bound(reinterpret_cast<sockaddr const*>(&v4), sizeof v4, why);
  }

  [[nodiscard]] int here() const {
    return static_cast<int>(std::count_if(guests_.begin(), guests_.end(), [](guest const& g) { return g.rank >= 0; }));
  }
  [[nodiscard]] bool is_here(int rank) const {
    return std::any_of(guests_.begin(), guests_.end(), [=](guest const& g) { return g.rank == rank && !g.gone; });
  }

  /// Waits a moment, takes who knocks, and hears everybody out.
  void turn(deadline d) {
    std::vector<pollfd> watched;
    if (listener_) watched.push_back({listener_.get(), POLLIN, 0});
    for (guest const& g : guests_) watched.push_back({g.socket.get(), POLLIN, 0});
    auto const left =
        std::chrono::duration_cast<std::chrono::milliseconds>(d - std::chrono::steady_clock::now()).count();
    ::poll(watched.data(), watched.size(), static_cast<int>(std::clamp<long long>(left, 0, 100)));
    for (guest& g : guests_) {
      hear(g);
      if (g.rank < 0 && is_past(g.patience)) g.gone = true;
    }
    guests_.remove_if([](guest const& g) { return g.gone; });
    while (listener_) {
      descriptor s(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!s) break;
      if (guests_.size() - static_cast<std::size_t>(here()) >= most_unknown) {
        guests_.erase(std::find_if(guests_.begin(), guests_.end(), [](guest const& g) { return g.rank < 0; }));
      }
      guests_.push_back({std::move(s), deadline_after(2)});
      hear(guests_.back());
    }
    guests_.remove_if([](guest const& g) { return g.gone; });
  }
  /// Of one who waits already there is nothing to hear: it left, and may come anew, or it is no rank of ours.
  void hear(guest& g) {
    std::byte more;
    auto const n = g.rank >= 0 ? ::recv(g.socket.get(), &more, 1, 0)
                               : ::recv(g.socket.get(), g.said.data() + g.got, g.said.size() - g.got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || g.rank >= 0) {
      g.gone = true;
      return;
    }
    g.got += static_cast<std::size_t>(n);
    if (g.got == g.said.size()) judge(g);
  }
  void judge(guest& g) {
    hello said;
    g.gone = true;
    if (!said.unpack(g.said)) return;  // a stranger: no answer
    auto const& own = place_.self;
    auto const v = said.run != own.run                      ? verdict::other_run
                   : said.size != own.size                  ? verdict::other_size
                   : said.payload != own.payload            ? verdict::other_payload
                   : said.rank < 0 || said.rank >= own.size ? verdict::no_such_rank
                   : said.rank == 0 || is_here(said.rank)   ? verdict::taken
                                                            : verdict::welcome;
    if (v == verdict::welcome) {
      g.rank = said.rank;
      g.gone = false;
      return;
    }
    (void)send(g, v);
    if (v == verdict::other_size) refused_ = say({"; rank ", said.rank, " came for a world of ", said.size});
    if (v == verdict::other_run) refused_ = "; a rank of another run came";
    if (v == verdict::taken) refused_ = say({"; rank ", said.rank, " came twice"});
  }
  /// The verdict, and to those who are welcome the bytes: less than what any socket takes at once.
  [[nodiscard]] bool send(guest const& g, verdict v) const {
    auto const head = hello{static_cast<int>(v), place_.self.size, bytes_.size(), 0, 0}.pack(answer_magic);
    std::vector<std::byte> message(head.begin(), head.end());
    if (v == verdict::welcome) message.insert(message.end(), bytes_.begin(), bytes_.end());
    auto const n = ::send(g.socket.get(), message.data(), message.size(), MSG_NOSIGNAL);
    return n == static_cast<ssize_t>(message.size());
  }
  /// Everybody is here: all get the bytes, and say that they have them.
  result<> hand_over(deadline d) {
    guests_.remove_if([](guest const& g) { return g.rank < 0; });
    for (guest& g : guests_) {
      if (!send(g, verdict::welcome)) return lost(g);
    }
    for (guest& g : guests_) {
      std::byte thanks{};
      while (wait_for(g.socket.get(), POLLIN, d) == 0) {
        if (is_past(d)) return lost(g);
      }
      if (::recv(g.socket.get(), &thanks, 1, 0) != 1) return lost(g);
    }
    return {};
  }
  [[nodiscard]] error lost(guest const& g) const {
    return place_.failure(cause::peer_lost, {"rank ", g.rank, " came and was lost before it had the bytes"});
  }
  [[nodiscard]] error missing() const {
    std::vector<int> ranks;
    for (int r = 1; r < place_.self.size; ++r) {
      if (!is_here(r)) ranks.push_back(r);
    }
    return place_.failure(cause::timeout, {names_of(ranks), " of a world of ", place_.self.size, " did not come to ",
                                           place_.where(), " before the deadline", refused_});
  }

  tcp_place const& place_;
  std::span<std::byte const> bytes_;
  descriptor listener_;
  std::list<guest> guests_;
  std::string refused_;
};

/// The other ranks' side: tries until the deadline, since rank 0 may be the last to come.
class tcp_visitor {
 public:
  tcp_visitor(tcp_place const& place, std::span<std::byte> bytes) : place_(place), bytes_(bytes) {}

  result<> run(deadline d) {
    for (;;) {
      if (result<bool> const met = visit(d); !met) {
        return met.error();
      } else if (*met) {
        return {};
      }
      if (is_past(d)) return place_.failure(cause::timeout, {"rank 0 at ", place_.where(), ": ", why_});
      pause(0.05, d);
    }
  }

 private:
  /// True: done. False: again, for the reason in why_. An error: rank 0 refused this rank.
  result<bool> visit(deadline d) {
    if (found_ == nullptr) {
      int code = 0;
      found_ = resolve(place_, code);
      if (found_ == nullptr) why_ = say({"the address (MASTER_ADDR) cannot be resolved: ", ::gai_strerror(code)});
    }
    for (addrinfo const* a = found_.get(); a != nullptr; a = a->ai_next) {
      if (descriptor const s = connected(*a, d)) return talk(s.get(), d);
    }
    return false;
  }
  descriptor connected(addrinfo const& a, deadline d) {
    descriptor s(::socket(a.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!s) return {};
    int code = ::connect(s.get(), a.ai_addr, a.ai_addrlen) == 0 ? 0 : errno;
    if (code == EINPROGRESS) {
      deadline const patience = std::min(d, deadline_after(5));
      while (wait_for(s.get(), POLLOUT, patience) == 0) {
        if (is_past(patience)) {
          why_ = "it was not reached before the deadline: no answer to a connection";
          return {};
        }
      }
      socklen_t length = sizeof code;
      ::getsockopt(s.get(), SOL_SOCKET, SO_ERROR, &code, &length);
    }
    if (code != 0 || is_own(s.get())) {
      why_ = say({"it was not reached before the deadline: ", std::strerror(code != 0 ? code : ECONNREFUSED)});
      return {};
    }
    return s;
  }
  /// Where nobody listens at a port of the range that the system draws from, it may connect a socket to itself.
  static bool is_own(int fd) {
    sockaddr_storage here{}, there{};
    socklen_t a = sizeof here, b = sizeof there;
    return ::getsockname(fd, reinterpret_cast<sockaddr*>(&here), &a) == 0 &&
           ::getpeername(fd, reinterpret_cast<sockaddr*>(&there), &b) == 0 && a == b &&
           std::memcmp(&here, &there, a) == 0;
  }
  result<bool> talk(int fd, deadline d) {
    auto const said = place_.self.pack();
    talking_since_ = std::chrono::steady_clock::now();
    if (::send(fd, said.data(), said.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(said.size())) return again();
    hello::packed head;
    if (!read(fd, head, d)) return again();
    hello answer;
    if (!answer.unpack(head, answer_magic)) {
      puzzled_ = true;
      why_ = "something answers there that is not rank 0 of a run of diloco; choose another port (MASTER_PORT)";
      return false;
    }
    if (auto const v = static_cast<verdict>(answer.rank); v != verdict::welcome) return refusal(v, answer.size);
    std::vector<std::byte> payload(bytes_.size());  // of our own size; of another one we would not be welcome
    if (!read(fd, payload, d)) return again();
    std::copy(payload.begin(), payload.end(), bytes_.begin());
    std::byte const thanks{1};
    (void)::send(fd, &thanks, 1, MSG_NOSIGNAL);
    return true;
  }
  bool read(int fd, std::span<std::byte> into, deadline d) {
    while (!into.empty()) {
      if (wait_for(fd, POLLIN, d) == 0) {
        if (!is_past(d)) continue;
        // What happened each time before says more than a moment of silence at the end.
        if (!puzzled_ || is_past(talking_since_ + std::chrono::seconds(1)))
          why_ = "it was reached, and other ranks did not come before the deadline";
        return false;
      }
      auto const n = ::recv(fd, into.data(), into.size(), 0);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (n <= 0) {
        puzzled_ = true;
        why_ = "it closed the connection each time; is something else at that port (MASTER_PORT)?";
        return false;
      }
      into = into.subspan(static_cast<std::size_t>(n));
    }
    return true;
  }
  static result<bool> again() { return false; }
  [[nodiscard]] error refusal(verdict v, int size) const {
    auto const& own = place_.self;
    if (v == verdict::other_run) {
      return place_.failure(cause::disagreement, {"rank 0 at ", place_.where(), " belongs to another run than rank ",
                                                  own.rank, "; give all ranks the same run id, and each run its port"});
    }
    if (v == verdict::other_size) {
      return place_.failure(cause::disagreement, {"rank 0 at ", place_.where(), " has a world of ", size, ", rank ",
                                                  own.rank, " one of ", own.size, " (WORLD_SIZE)"});
    }
    if (v == verdict::taken) {
      return place_.failure(cause::disagreement, {"rank ", own.rank, " (RANK) is at ", place_.where(),
                                                  " already; each "
                                                  "process has a rank of its own"});
    }
    return place_.failure(cause::disagreement, {"rank 0 at ", place_.where(), " shares other bytes than rank ",
                                                own.rank, "; run the same program on all ranks"});
  }

  tcp_place const& place_;
  std::span<std::byte> bytes_;
  addresses found_{nullptr, [](addrinfo*) {}};
  std::string why_ = "it was not reached before the deadline";
  bool puzzled_ = false;
  deadline talking_since_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
