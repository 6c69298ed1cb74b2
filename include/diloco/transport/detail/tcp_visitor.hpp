// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/tcp_place.hpp>

#include <algorithm>
#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// The other ranks' side. It tries until the deadline, because rank 0 may be the last to come.
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
      if (is_past(d))
        return place_.failure(cause::timeout, {"rank 0 at ", place_.where(), ": ", why_, told_});
      pause(0.05, d);
    }
  }

 private:
  /// True: done. False: try again, for the reason in why_. An error: rank 0 refused this rank.
  result<bool> visit(deadline d) {
    if (found_ == nullptr) {
      std::string words;
      found_ = resolve(place_, d, words);
      if (found_ == nullptr) why_ = "the address (MASTER_ADDR) cannot be resolved: " + words;
    }
    for (addrinfo const* a = found_.get(); a != nullptr; a = a->ai_next) {
      if (descriptor const s = connected(*a, d)) return talk(s.get(), d);
    }
    return false;
  }
  descriptor connected(addrinfo const& a, deadline d) {
    descriptor s(::socket(a.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!s) {
      why_ = say({"this rank has no socket for it: ", std::strerror(errno)});
      return {};
    }
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
      why_ = say({missing_ ? "it was there and is gone: " : "it was not reached before the deadline: ",
                  std::strerror(code != 0 ? code : ECONNREFUSED)});
      if (missing_) told_ = "; " + missing_->text(place_.self.size, " had not come");
      return {};
    }
    return s;
  }
  /// Whether the socket is connected to itself. The system may do this at a port of its ephemeral range where
  /// nobody listens.
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
    if (::send(fd, said.data(), said.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(said.size()))
      return again();
    hello answer;
    for (;;) {
      hello::packed head;
      if (!read(fd, head, d)) return again();
      if (!answer.unpack(head, answer_magic)) return puzzled();
      auto const v = static_cast<verdict>(answer.rank);
      if (v == verdict::welcome) break;
      if (v != verdict::waiting && v != verdict::gave_up) return refusal(v, answer.size);
      absence::packed names;
      absence told;
      if (!read(fd, names, d)) return again();
      if (!told.unpack(names)) return puzzled();
      missing_ = told;
      if (v == verdict::waiting && !is_past(d)) continue;
      if (v == verdict::waiting) return silence();
      return place_.failure(cause::timeout, {"rank 0 at ", place_.where(),
                                             " gave up at its deadline: ", told.text(place_.self.size)});
    }
    // The size is this rank's own: rank 0 refuses a rank with another size.
    std::vector<std::byte> payload(bytes_.size());
    if (!read(fd, payload, d)) return again();
    std::copy(payload.begin(), payload.end(), bytes_.begin());
    std::byte const thanks{1};
    (void)::send(fd, &thanks, 1, MSG_NOSIGNAL);
    return true;
  }
  result<bool> puzzled() {
    puzzled_ = true;
    why_ = "something answers there that is not rank 0 of a run of diloco; choose another port (MASTER_PORT)";
    return false;
  }
  /// False: not all bytes came. A peer that sends byte by byte cannot hold this rank beyond its deadline.
  bool read(int fd, std::span<std::byte> into, deadline d) {
    while (!into.empty()) {
      bool const last = is_past(d);
      if (wait_for(fd, POLLIN, d) == 0) {
        if (!last) continue;
        return silence();
      }
      auto const n = ::recv(fd, into.data(), into.size(), 0);
      if (n < 0 && (errno == EAGAIN || errno == EINTR) && !last) continue;
      if (n <= 0) {
        puzzled_ = true;
        why_ = "it closed the connection each time; is something else at that port (MASTER_PORT)?";
        return false;
      }
      into = into.subspan(static_cast<std::size_t>(n));
      if (last && !into.empty()) return silence();
    }
    return true;
  }
  bool silence() {
    told_.clear();
    if (missing_) {
      why_ = "it was reached, and " + missing_->text(place_.self.size) + " before the deadline";
    } else if (!puzzled_ || is_past(talking_since_ + std::chrono::seconds(1))) {
      // The reason of the earlier tries is more useful than a short silence at the end.
      why_ = "it was reached, and other ranks did not come before the deadline";
    }
    return false;
  }
  static result<bool> again() { return false; }
  [[nodiscard]] error refusal(verdict v, int size) const {
    auto const& own = place_.self;
    if (v == verdict::other_run) {
      return place_.failure(cause::disagreement,
                            {"rank 0 at ", place_.where(), " belongs to another run than rank ", own.rank,
                             "; give all ranks the same run id, and each run its port"});
    }
    if (v == verdict::other_size) {
      return place_.failure(cause::disagreement,
                            {"rank 0 at ", place_.where(), " has a world of ", size, ", rank ", own.rank,
                             " one of ", own.size, " (WORLD_SIZE)"});
    }
    if (v == verdict::taken) {
      return place_.failure(cause::disagreement, {"rank ", own.rank, " (RANK) is at ", place_.where(),
                                                  " already; each "
                                                  "process has a rank of its own"});
    }
    return place_.failure(cause::disagreement,
                          {"rank 0 at ", place_.where(), " shares other bytes than rank ", own.rank,
                           "; run the same program on all ranks"});
  }

  tcp_place const& place_;
  std::span<std::byte> bytes_;
  addresses found_ = no_addresses();
  std::optional<absence> missing_;  // the last report of rank 0
  std::string why_ = "it was not reached before the deadline", told_;
  bool puzzled_ = false;
  deadline talking_since_;
};

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
