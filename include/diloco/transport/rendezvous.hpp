// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/transport/detail/file_meeting.hpp>
#include <diloco/transport/detail/launcher.hpp>
#include <diloco/transport/detail/tcp_host.hpp>
#include <diloco/transport/detail/tcp_visitor.hpp>

#include <charconv>
#include <concepts>
#include <cstdlib>
#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// How processes that do not know each other share a few bytes: those of rank 0 go to all. Each call is one
/// meeting. A rank of another world or another run gets an error that says so. Connections of other programs
/// are dropped without harm.
template <class S>
concept store = requires(S const& s, std::span<std::byte> bytes, deadline d) {
  { s.rank } -> std::convertible_to<int>;
  { s.size } -> std::convertible_to<int>;
  { s.share(bytes, d) } -> std::same_as<result<>>;
};

/// Meets over TCP at rank 0, which listens at address:port during the meeting. If the address is a name, it
/// listens at all its addresses. Nothing is encrypted, and `run` is not a password: it separates runs that
/// meet by mistake. Use it in a private network.
struct tcp_store {
  int rank = -1;
  int size = 0;  // a world of one must be stated
  std::string address{};
  int port = 0;
  std::string run{};

  /// Gives every rank the `bytes` of rank 0, at most 4096. Blocks up to the deadline. Errors: missing ranks,
  /// ranks that disagree, a port in use, too few descriptors at rank 0. All ranks that an error concerns
  /// return it.
  [[nodiscard]] result<> share(std::span<std::byte> bytes, deadline d) const {
    if (auto good = detail::check_place(rank, size, bytes.size()); !good || size == 1) return good;
    detail::tcp_place const place{{rank, size, bytes.size(), detail::hash_of_run(run), 0}, address, port};
    if (address.empty())
      return place.failure(cause::bad_setting, {"the address of rank 0 (MASTER_ADDR) is empty"});
    if (port < 1 || port > 65535) {
      return place.failure(cause::bad_setting, {"port = ", port, " (MASTER_PORT) must be in [1, 65535]"});
    }
    return rank == 0 ? detail::tcp_host(place, bytes).run(d) : detail::tcp_visitor(place, bytes).run(d);
  }

  /// Reads the launchers' variables: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, and DILOCO_RUN_ID if it is
  /// set. Errors: a variable that is missing or invalid. MASTER_ADDR and MASTER_PORT may be missing in a
  /// world of one.
  [[nodiscard]] static result<tcp_store> from_environment();
};

/// Meets by files at `path` and beside it, in a folder that all ranks see. `run` is required and must be new
/// for each run. It separates this run's files from those that an earlier run left.
struct file_store {
  int rank = -1;
  int size = 0;
  std::string path{};
  std::string run{};

  /// As tcp_store::share. A meeting that succeeds leaves no file behind.
  [[nodiscard]] result<> share(std::span<std::byte> bytes, deadline d) const {
    if (auto good = detail::check_place(rank, size, bytes.size()); !good || size == 1) return good;
    if (path.empty() || run.empty()) {
      return error{cause::bad_setting, rank, 0,
                   say({"diloco: rendezvous: a meeting by files needs a ", path.empty() ? "path" : "run id",
                        path.empty() ? " that all ranks see"
                                     : " that is new for each run and the same on every rank"})};
    }
    return detail::file_meeting({rank, size, bytes.size(), detail::hash_of_run(run), 0}, path, bytes).run(d);
  }
};

namespace detail {

inline error bad_variable(std::initializer_list<piece> pieces) {
  return {cause::bad_setting, 0, 0, "diloco: rendezvous: " + say(pieces)};
}

inline result<int> number_of(char const* variable, std::string_view what, int least, int most) {
  char const* const text = std::getenv(variable);
  if (text == nullptr) return bad_variable({"the environment has no ", variable, ", which is ", what});
  std::string_view const all(text);
  int number = 0;
  auto const [end, code] = std::from_chars(all.data(), all.data() + all.size(), number);
  if (code != std::errc() || end != all.data() + all.size() || number < least || number > most) {
    return bad_variable({variable, " = '", all, "' is no whole number in [", least, ", ", most, "]"});
  }
  return number;
}

}  // namespace detail

inline result<tcp_store> tcp_store::from_environment() {
  tcp_store s;
  auto const size =
      detail::number_of("WORLD_SIZE", "the number of processes, and 1 for one that is alone", 1, 1 << 20);
  if (!size) return size.error();
  auto const rank = detail::number_of("RANK", "this process's number, from 0", 0, *size - 1);
  if (!rank) return rank.error();
  s.rank = *rank, s.size = *size;
  if (char const* const run = std::getenv("DILOCO_RUN_ID"); run != nullptr) s.run = run;
  if (s.size == 1) {
    auto const promise = detail::promise_of_launchers(false);
    if (!promise || promise->size <= 1) return s;
    return detail::bad_variable({"WORLD_SIZE = 1 and ", promise->variable, " = ", promise->value,
                                 "; set WORLD_SIZE to the number of processes, or ask for a world of one by"
                                 " tcp_store{.rank = 0, .size = 1}"});
  }
  char const* const address = std::getenv("MASTER_ADDR");
  if (address == nullptr || *address == 0) {
    return detail::bad_variable({"the environment has no MASTER_ADDR, which is the host of rank 0"});
  }
  s.address = address;
  auto const port = detail::number_of("MASTER_PORT", "a free port of rank 0's host", 1, 65535);
  if (!port) return port.error();
  s.port = *port;
  return s;
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
