// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/tcp_place.hpp>

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <list>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// Rank 0's side. It uses one thread and nonblocking sockets, so no connection can make the others wait. It
/// drops a connection that has not identified itself within two seconds, and the oldest of more than 64 such
/// connections.
/// A turn takes at most 128 new connections, so the deadline is checked however many come. Waiting ranks are
/// told which ranks are missing.
class tcp_host {
 public:
  tcp_host(tcp_place const& place, std::span<std::byte const> bytes) : place_(place), bytes_(bytes) {}

  result<> run(deadline d) {
    if (auto fits = check_limit(); !fits) return fits;
    if (auto open = listen(d); !open) return open;
    while (here() < place_.self.size - 1) {
      bool const last = is_past(d);
      if (auto fine = turn(d); !fine) return fine;
      if (last && here() < place_.self.size - 1) return give_up();
      tell();
    }
    listener_ = descriptor();
    return hand_over(std::max(d, deadline_after(0.2)));
  }

 private:
  struct guest {
    descriptor socket;
    deadline patience;
    int rank = -1;  // −1: not known yet
    std::size_t got = 0;
    hello::packed said{};
    bool gone = false;
  };
  static constexpr int most_taken = 128;

  /// Rank 0 needs a descriptor for each rank. This counts the open ones among the first 65,536.
  result<> check_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
    std::size_t const most = static_cast<std::size_t>(limit.rlim_cur);
    std::size_t needed =
        static_cast<std::size_t>(place_.self.size) + 1;  // the other ranks, the listener, one newcomer
    for (int fd = 0; fd < static_cast<int>(std::min<std::size_t>(most, 65536)); ++fd) {
      if (::fcntl(fd, F_GETFD) != -1) needed += 1;
    }
    if (needed <= most) {
      most_unknown_ = std::min<std::size_t>(most_unknown_, most - needed + 1);
      return {};
    }
    return place_.failure(cause::bad_setting, {"a world of ", place_.self.size, " needs ", needed,
                                               " open files at rank 0 and RLIMIT_NOFILE is ", most,
                                               "; raise it (ulimit -n), or meet by a file_store"});
  }

  /// It listens at exactly the given address if this is a number or localhost. On loopback no other machine
  /// is reachable. A machine often resolves its own name to 127.0.1.1, while others resolve it to its
  /// address.
  /// So for a name it listens at all addresses. It also does so where the number is not its own (behind a
  /// translation). It waits up to a second for a port that is being released.
  result<> listen(deadline d) {
    std::string words;
    addresses const found = resolve(place_, d, words);
    if (found == nullptr) {
      return place_.failure(cause::bad_setting, {"the address '", place_.address,
                                                 "' of rank 0 (MASTER_ADDR) cannot be resolved: ", words});
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
      return place_.failure(cause::transport,
                            {"rank 0 cannot listen at ", place_.where(), ": ", std::strerror(why)});
    }
  }
  static descriptor bound(sockaddr const* address, socklen_t length, int& why) {
    descriptor s(::socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    // SO_REUSEADDR is on, because connections of an earlier run may linger for minutes.
    int const on = 1, off = 0;
    if (s && address->sa_family == AF_INET6)
      ::setsockopt(s.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (s && ::setsockopt(s.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        ::bind(s.get(), address, length) == 0 && ::listen(s.get(), 512) == 0) {
      return s;
    }
    why = errno;
    return {};
  }
  [[nodiscard]] bool is_literal() const { return place_.address == "localhost" || is_number(place_.address); }
  /// Listens at all IPv6 and IPv4 addresses, or at IPv4 alone where there is no IPv6.
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
    return static_cast<int>(
        std::count_if(guests_.begin(), guests_.end(), [](guest const& g) { return g.rank >= 0; }));
  }
  [[nodiscard]] bool is_here(int rank) const {
    return std::any_of(guests_.begin(), guests_.end(),
                       [=](guest const& g) { return g.rank == rank && !g.gone; });
  }

  /// Waits up to 100 ms, reads from all connections, and accepts new ones. Errors: no descriptor is left.
  result<> turn(deadline d) {
    std::vector<pollfd> watched{{listener_.get(), POLLIN, 0}};
    for (guest const& g : guests_) watched.push_back({g.socket.get(), POLLIN, 0});
    auto const left =
        std::chrono::duration_cast<std::chrono::milliseconds>(d - std::chrono::steady_clock::now()).count();
    ::poll(watched.data(), watched.size(), static_cast<int>(std::clamp<long long>(left, 0, 100)));
    for (guest& g : guests_) {
      hear(g);
      if (g.rank < 0 && is_past(g.patience)) g.gone = true;
    }
    let_go();
    for (int taken = 0; taken < most_taken; ++taken) {
      descriptor s(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      int const why = s ? 0 : errno;
      if (why == EAGAIN) break;
      if (why == EMFILE || why == ENFILE) {
        if (drop_oldest_unknown()) continue;
        return place_.failure(cause::transport, {"rank 0 cannot take another connection: ",
                                                 std::strerror(why), "; raise RLIMIT_NOFILE (ulimit -n)"});
      }
      if (!s) continue;  // it left before it was accepted
      if (guests_.size() - static_cast<std::size_t>(here()) >= most_unknown_) drop_oldest_unknown();
      guests_.push_back({std::move(s), deadline_after(2)});
      hear(guests_.back());
    }
    let_go();
    return {};
  }
  void let_go() {
    guests_.remove_if([this](guest const& g) {
      if (g.gone && g.rank >= 0) changed_ = true;
      return g.gone;
    });
  }
  bool drop_oldest_unknown() {
    auto const oldest =
        std::find_if(guests_.begin(), guests_.end(), [](guest const& g) { return g.rank < 0; });
    if (oldest == guests_.end()) return false;
    guests_.erase(oldest);
    return true;
  }
  /// A registered peer must not send anything. A read event then means that it left, or that it is not one of
  /// our ranks. A rank that left may connect again.
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
    if (!said.unpack(g.said)) return;  // unknown program: no answer
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
      came_[static_cast<std::size_t>(g.rank)] = changed_ = true;
      return;
    }
    (void)send(g, v);
    if (v == verdict::other_size) refused_ = say({"; rank ", said.rank, " came for a world of ", said.size});
    if (v == verdict::other_run) refused_ = "; a rank of another run came";
    if (v == verdict::other_payload) refused_ = say({"; rank ", said.rank, " came to share other bytes"});
    if (v == verdict::taken) refused_ = say({"; rank ", said.rank, " came twice"});
  }
  /// Sends the verdict and its payload. This is less than any socket accepts at once.
  [[nodiscard]] bool send(guest const& g, verdict v) const {
    auto const head = hello{static_cast<int>(v), place_.self.size, bytes_.size(), 0, 0}.pack(answer_magic);
    std::vector<std::byte> message(head.begin(), head.end());
    if (v == verdict::welcome) message.insert(message.end(), bytes_.begin(), bytes_.end());
    if (v == verdict::waiting || v == verdict::gave_up) {
      auto const who = missing().pack();
      message.insert(message.end(), who.begin(), who.end());
    }
    auto const n = ::send(g.socket.get(), message.data(), message.size(), MSG_NOSIGNAL);
    return n == static_cast<ssize_t>(message.size());
  }
  /// Tells the waiting ranks which ranks are missing, when that has changed, at most ten times a second.
  void tell() {
    if (!changed_ || !is_past(next_word_)) return;
    changed_ = false;
    next_word_ = deadline_after(0.1);
    for (guest& g : guests_) {
      if (g.rank >= 0 && !send(g, verdict::waiting)) g.gone = true;
    }
  }
  /// All ranks are here. Sends the bytes to each of them and waits for their acknowledgements.
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
  /// The ranks that never came. If there are none, those that came and left.
  [[nodiscard]] absence missing() const {
    absence never, left;
    left.came = true;
    for (int r = 1; r < place_.self.size; ++r) {
      if (is_here(r)) continue;
      (came_[static_cast<std::size_t>(r)] ? left : never).add(r);
    }
    return never.count == 0 ? left : never;
  }
  [[nodiscard]] error give_up() const {
    for (guest const& g : guests_) {
      if (g.rank >= 0) static_cast<void>(send(g, verdict::gave_up));
    }
    absence const who = missing();
    absence left;
    for (int r = 1; r < place_.self.size && !who.came; ++r) {
      if (!is_here(r) && came_[static_cast<std::size_t>(r)]) left.add(r);
    }
    auto const others =
        left.count == 0 ? "" : say({"; ", names_of(left.ranks, left.count), " came and left"});
    return place_.failure(cause::timeout, {who.text(place_.self.size), who.came ? " again at " : " to ",
                                           place_.where(), " before the deadline", others, refused_});
  }

  tcp_place const& place_;
  std::span<std::byte const> bytes_;
  descriptor listener_;
  std::list<guest> guests_;
  std::vector<bool> came_ = std::vector<bool>(static_cast<std::size_t>(place_.self.size));
  std::size_t most_unknown_ = 64;
  bool changed_ = false;  // whether the set of ranks changed since the last `tell`
  deadline next_word_;
  std::string refused_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
