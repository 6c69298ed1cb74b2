// SPDX-License-Identifier: Apache-2.0
// transport/nccl.hpp over a fake NCCL: order of calls, deadlines, error messages, and the fate of buffers and
// communicator after a failure. nccl_aborts.cpp compiles it as with an NCCL that cannot revoke.
#include "support/fake_nccl.hpp"

#include <diloco/transport/nccl.hpp>
#include <diloco/transport/threads.hpp>
#include <diloco/transport/with/counted.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

using namespace diloco;

namespace {

constexpr bool revokes = DILOCO_NCCL_REVOKES;
struct stream_executor {
  cudaStream_t stream;
};

/// Memory that counts returned buffers. Leaked memory stays reachable.
struct pool {
  std::atomic<int> out{0};
  buffer get(std::size_t bytes) {
    static auto& all = *new std::vector<std::unique_ptr<std::byte[]>>;
    static std::mutex guard;
    std::lock_guard const lock(guard);
    all.push_back(std::make_unique<std::byte[]>(bytes));
    ++out;
    auto const back = [](std::byte*, std::size_t, void* p) noexcept { --static_cast<pool*>(p)->out; };
    return {all.back().get(), bytes, back, this};
  }
  wires slots(int ranks, int value = 0) {
    wires w{get(16), get(16 * static_cast<std::size_t>(ranks))};
    std::memcpy(w.send.data(), &value, sizeof value);
    return w;
  }
};
int value_of(std::span<std::byte const> wire) {
  int v;
  std::memcpy(&v, wire.data(), sizeof v);
  return v;
}
double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
auto now() { return std::chrono::steady_clock::now(); }
deadline soon(double seconds = 20) { return deadline_after(seconds); }
/// Waits for an event on a thread that is not joined.
bool comes_true(auto&& what) {
  for (int i = 0; i < 2000 && !what(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return what();
}

/// Makes the first two ranks of a world of two and runs f(rank 0). Rank 1 joins and does nothing unless told
/// otherwise.
template <class F>
void with_two(F&& f, fake::settings s = {}) {
  fake::reset({});
  auto const id = fake::unique_id();
  std::optional<nccl> zero, one;
  {
    std::jthread const other([&] { one = nccl::make(id, 1, 2).value(); });
    zero = nccl::make(id, 0, 2).value();
  }
  fake::reset(std::move(s));
  f(*zero, *one);
}
std::string const late =
    "diloco: nccl: round 7 phase 2: not every rank arrived before the deadline (NCCL does not tell "
    "which); all_gather waited ";

static_assert(pairing_transport<nccl> && sends_from_device<nccl> && !nccl::receives_in_place);
static_assert(sends_from_device<counted<nccl>> && !sends_from_device<counted<threads>>);
template <class T>
concept orders_after = requires(T t, stream_executor e) {
  t.after(e);
};
static_assert(orders_after<nccl> && orders_after<counted<nccl>> && !orders_after<counted<threads>>);

}  // namespace

TEST_CASE("nccl: a world made by a broadcast, by sockets and by files; all is given back at the end") {
  int port = 0;
  {
    detail::descriptor const s(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in a{};
    a.sin_family = AF_INET, a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof a;
    REQUIRE(::bind(s.get(), reinterpret_cast<sockaddr*>(&a), length) == 0);
    REQUIRE(::getsockname(s.get(), reinterpret_cast<sockaddr*>(&a), &length) == 0);
    port = ntohs(a.sin_port);
  }
  std::string const path =
      (std::filesystem::temp_directory_path() / say({"diloco_nccl_", ::getpid()})).string();
  for (int way : {0, 1, 2, 3}) {
    CAPTURE(way);
    fake::reset({.in_progress = way});
    auto const shared = fake::unique_id();
    pool p;
    run_threads(3, [&](threads end) {
      int const rank = end.rank();
      auto const broadcast = [&](std::span<std::byte> id) {
        std::memcpy(id.data(), shared.internal, id.size());
      };
      nccl t = way == 0   ? nccl(tcp_store{rank, 3, "127.0.0.1", port})
               : way == 1 ? nccl(file_store{rank, 3, path, "run"})
               : way == 2 ? nccl::make(rank, 3, broadcast).value()
                          : nccl::make(rank, 3, [&](std::span<std::byte> id) {
                              return broadcast(id), result<>();
                            }).value();
      CHECK(t.rank() == rank);
      CHECK(t.size() == 3);
      auto got = t.all_gather(p.slots(3, 10 + rank), {0, 0}).wait(soon());
      REQUIRE(got);
      for (int k : {0, 1, 2}) CHECK(value_of(got->message(k)) == 10 + k);
      (void)std::move(*got).reclaim(soon());
    });
    auto const c = fake::count();
    CHECK((c.finalizes == 3 && c.destroys == 3 && c.aborts == 0 && c.revokes == 0));
    CHECK((c.streams == 0 && c.events == 0 && c.misuses == 0));
    CHECK(p.out == 0);
  }
}

TEST_CASE("nccl: a world that is none, or does not come together") {
  auto const refused = [](auto&&... arguments) {
    auto const made = nccl::make(arguments...);
    return made ? error{} : made.error();
  };
  fake::reset({});
  auto const id = fake::unique_id();
  auto const nothing = [](std::span<std::byte>) {};
  CHECK(refused(id, 2, 2).message == "diloco: nccl: there is no rank 2 in a world of 2");
  CHECK(refused(id, -1, 2).message == "diloco: nccl: there is no rank -1 in a world of 2");
  CHECK(refused(0, 0, nothing).message == "diloco: nccl: there is no rank 0 in a world of 0");
  CHECK(refused(tcp_store{}).message == "diloco: nccl: there is no rank -1 in a world of 0");
  CHECK(refused(1, 2, [](std::span<std::byte>) -> result<> {
          return error{cause::timeout, 1, 0, "mine"};
        }).message == "mine");
  CHECK(refused(1, 2, nothing).message ==
        "diloco: nccl: rank 0 has no unique id to share; its own error says why");
  CHECK_THROWS_AS(nccl(file_store{0, 2, "", ""}), exception);

  auto const start = now();
  auto const alone_there = refused(id, 0, 2, 0.1);
  CHECK(alone_there.message.starts_with(
      "diloco: nccl: rank 0 did not join a world of 2 before the deadline: not every rank came "
      "(NCCL does not tell which); ncclCommInitRank waited 0."));
  CHECK(alone_there.what == cause::timeout);
  CHECK(seconds_since(start) < 2);
  CHECK(comes_true([] { return fake::count().aborts == 1; }));

  fake::reset({.unique_id = ncclSystemError});
  CHECK(refused(0, 1, nothing).message == "diloco: nccl: ncclGetUniqueId failed: unhandled system error");
  fake::reset({.init = ncclSystemError, .last_error = "no socket interface found"});
  auto const failed = refused(id, 1, 2);
  CHECK(failed.message ==
        "diloco: nccl: rank 1 did not join a world of 2: unhandled system error (no socket interface found)");
  CHECK((failed.what == cause::transport && failed.rank == 1));
  CHECK(comes_true([] { return fake::count().aborts == 1; }));
  fake::reset({.init = ncclInvalidUsage});
  CHECK(refused(id, 1, 2).message ==
        "diloco: nccl: rank 1 did not join a world of 2: invalid usage; ranks that share a "
        "GPU need an NCCL_HOSTID each");
  CHECK(comes_true([] { return fake::count().aborts == 1; }));
  for (char const* call :
       {"cudaDeviceGetStreamPriorityRange", "cudaStreamCreateWithPriority", "cudaEventCreateWithFlags"}) {
    fake::reset({.cuda_fails = call});
    CHECK(refused(fake::unique_id(), 0, 1).message ==
          say({"diloco: nccl: ", call, " failed: some CUDA error"}));
  }
}

TEST_CASE("nccl: `after` is ordered before the exchange, and only the bytes that are there then travel") {
  with_two([](nccl& zero, nccl& one) {
    pool p;
    cudaStream_t const busy = fake::held_stream();
    zero.after(stream_executor{busy});
    auto w = p.slots(2, 1);
    int const final = 42;
    std::byte* const send = w.send.data();
    auto first = zero.all_gather(std::move(w), {0, 0});
    CHECK(fake::calls() == std::vector<std::string>{"cudaEventRecord", "cudaStreamWaitEvent",
                                                    "cudaEventCreateWithFlags", "ncclAllGather",
                                                    "cudaEventRecord"});
    auto other = one.all_gather(p.slots(2, 2), {0, 0});
    std::memcpy(send, &final, sizeof final);  // what `busy` does until it has finished
    fake::release(busy);
    auto const seen = other.wait(soon());
    REQUIRE(seen);
    CHECK(value_of(seen->message(0)) == 42);
    CHECK(first.wait(soon()));
    fake::destroy(busy);
    fake::reset({});
    counted(std::move(zero)).after(stream_executor{fake::held_stream()});
    CHECK(fake::calls() == std::vector<std::string>{"cudaEventRecord", "cudaStreamWaitEvent"});
  });
}

TEST_CASE("nccl: an exchange with oneself arrives after what `after` saw, too, and NCCL is not told") {
  pool p;
  with_two([&](nccl& zero, nccl&) {
    cudaStream_t const busy = fake::held_stream();
    zero.after(stream_executor{busy});
    auto w = p.slots(1, 1);
    int const final = 42;
    std::byte* const send = w.send.data();
    auto pending = zero.exchange(std::move(w), 0, {0, 0});
    CHECK(fake::calls() == std::vector<std::string>{"cudaEventRecord", "cudaStreamWaitEvent",
                                                    "cudaEventCreateWithFlags", "cudaEventRecord"});
    { auto const dropped = zero.exchange(p.slots(1), 0, {0, 1}); }  // nothing would wait for it
    CHECK(p.out == 2);
    std::jthread const device([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      std::memcpy(send, &final, sizeof final);
      fake::release(busy);
    });
    auto const seen = pending.wait(soon());
    REQUIRE(seen);
    CHECK(value_of(seen->message(0)) == 42);
    CHECK(cudaGetLastError() == cudaSuccess);  // not "not ready"
    fake::reset({});
    CHECK(zero.exchange(p.slots(1), 0, {0, 2}).wait(soon()));
    CHECK(fake::calls() == std::vector<std::string>{"cudaEventRecord"});  // events are reused
  });
  cudaStream_t const busy = fake::held_stream();
  with_two([&](nccl& zero, nccl&) {
    zero.after(stream_executor{busy});
    auto const missed = zero.exchange(p.slots(1), 0, {7, 2}).wait(soon(0.1));
    REQUIRE_FALSE(missed);
    CHECK(missed.error().message.starts_with(
        "diloco: nccl: round 7 phase 2: what comes before it on the device did not end before the deadline; "
        "exchange waited 0."));
    CHECK(missed.error().what == cause::timeout);
    auto const next = zero.exchange(p.slots(1), 0, {8, 0}).wait(soon());
    REQUIRE_FALSE(next);
    CHECK(next.error().what == cause::wrong_state);
  });
  fake::release(busy);
}

TEST_CASE("nccl: a stream that is captured is refused, and nothing was begun") {
  with_two([](nccl& zero, nccl& one) {
    pool p;
    cudaStream_t const stream = fake::held_stream();
    fake::release(stream);
    fake::capture(stream, true);
    std::string said;
    cause what{};
    try {
      zero.after(stream_executor{stream});
    } catch (exception const& e) {
      said = e.what();
      what = e.details().what;
    }
    CHECK(said ==
          "diloco: nccl: the stream is being captured in a graph, and an exchange cannot be; capture steps "
          "only");
    CHECK(what == cause::wrong_state);
    CHECK(fake::calls().empty());
    fake::capture(stream, false);
    zero.after(stream_executor{stream});
    auto a = zero.exchange(p.slots(1), 1, {0, 0}), b = one.exchange(p.slots(1), 0, {0, 0});
    CHECK(a.wait(soon()));
    CHECK(b.wait(soon()));
  });
}

TEST_CASE(
    "nccl: nothing blocks but wait, and that until the deadline; then the communicator is out of service") {
  with_two([](nccl& zero, nccl&) {
    pool p;
    auto start = now();
    auto pending = zero.all_gather(p.slots(2), {7, 2});
    auto second = zero.exchange(p.slots(1), 1, {8, 0});
    CHECK(seconds_since(start) < 0.1);
    start = now();
    auto const missed = pending.wait(soon(0.2));
    double const took = seconds_since(start);
    REQUIRE_FALSE(missed);
    CHECK(missed.error().message.starts_with(late));
    CHECK((missed.error().what == cause::timeout && missed.error().rank == 0 && missed.error().round == 7));
    CHECK(took >= 0.2);
    CHECK(took < 1.5);
    CHECK(fake::count().revokes == (revokes ? 1 : 0));
    CHECK(fake::count().aborts == (revokes ? 0 : 1));
    CHECK(p.out == 2);  // the first exchange's buffers were returned, because NCCL no longer uses them
    auto const also = second.wait(soon());
    REQUIRE_FALSE(also);
    CHECK(also.error().message.starts_with(late));
    CHECK(p.out == 0);
    zero.after(stream_executor{nullptr});  // does nothing any more
    auto const next = zero.all_to_all(p.slots(2), {9, 1}).wait(soon());
    REQUIRE_FALSE(next);
    CHECK(next.error().message ==
          "diloco: nccl: round 9 phase 1: the communicator is out of service since: " +
              missed.error().message);
    CHECK(next.error().what == cause::wrong_state);
    { auto const dropped = zero.all_gather(p.slots(2), {9, 1}); }
    CHECK(p.out == 0);
    CHECK(fake::count().revokes + fake::count().aborts == 1);
  });
  auto const c = fake::count();
  CHECK(c.finalizes == 1);  // of rank 1
  CHECK(c.destroys == (revokes ? 2 : 1));
  CHECK((c.streams == -2 && c.misuses == 0));  // both streams were created before counting began
}

TEST_CASE("nccl: what NCCL does not let go of is given up for good") {
  for (int how : {0, 1, 2}) {  // it never ends; it is refused; the stream stands still
    CAPTURE(how);
    cudaStream_t const stuck = fake::held_stream();
    fake::settings s;
    if (how == 0) s.revoke_ends = s.abort_ends = false;
    if (how == 1) s.revoke = ncclInvalidArgument, s.abort_ends = false;
    pool p;
    with_two(
        [&](nccl& zero, nccl&) {
          if (how == 2) zero.after(stream_executor{stuck});
          auto pending = zero.all_gather(p.slots(2), {7, 2});
          auto const start = now();
          auto const missed = pending.wait(soon(0.1));
          double const took = seconds_since(start);
          REQUIRE_FALSE(missed);
          CHECK(missed.error().message.starts_with(late));
          CHECK(took < 0.1 + nccl::give_up_seconds + 1);
          CHECK((took >= 0.1 + nccl::give_up_seconds) == !(how == 1 && revokes));
        },
        s);
    CHECK(p.out == 2);
    CHECK(fake::count().destroys == 1);  // rank 1's
    CHECK(fake::count().streams == -1);
    fake::set({});
    fake::release(stuck);
  }
}

TEST_CASE("nccl: an exchange that is dropped takes the communicator along; one that is over does not") {
  with_two([](nccl& zero, nccl& one) {
    pool p;
    {
      auto done = zero.all_gather(p.slots(2), {0, 0});
      REQUIRE(one.all_gather(p.slots(2), {0, 0}).wait(soon()));
    }
    CHECK(p.out == 0);
    auto pending = zero.exchange(p.slots(1), 1, {1, 0});
    pending = zero.exchange(p.slots(1), 0, {1, 1});  // with itself; the other exchange is dropped
    CHECK(p.out == 4);
    CHECK(fake::count().revokes == (revokes ? 1 : 0));
    CHECK(fake::count().aborts == 0);
    CHECK_FALSE(pending.wait(soon()));  // it is queued behind the other exchange
    auto const next = zero.all_gather(p.slots(2), {2, 0}).wait(soon());
    REQUIRE_FALSE(next);
    CHECK(next.error().message ==
          "diloco: nccl: round 2 phase 0: the communicator is out of service since: diloco: nccl: "
          "round 1 phase 0: the exchange was dropped before it was over");
    CHECK(p.out == 2);
  });
  CHECK(fake::count().destroys == (revokes ? 2 : 1));
}

TEST_CASE("nccl: errors of NCCL and CUDA are sentences") {
  auto const after_start = [](fake::settings s, auto&& then) {
    error seen;
    pool p;
    with_two([&](nccl& zero, nccl&) {
      fake::set(s);
      auto pending = zero.all_gather(p.slots(2), {3, 1});
      then();
      auto const got = pending.wait(soon());
      REQUIRE_FALSE(got);
      seen = got.error();
    });
    fake::set({});
    return seen;
  };
  auto const nothing = [] {};
  auto e = after_start({}, [] { fake::fail(0, ncclRemoteError); });
  CHECK(e.message ==
        "diloco: nccl: round 3 phase 1: the exchange failed: remote process exited or there was a network "
        "error");
  CHECK((e.what == cause::peer_lost && e.round == 3 && e.rank == 0));
  e = after_start({.last_error = "socket closed"}, [] { fake::fail(0, ncclSystemError); });
  CHECK(e.message ==
        "diloco: nccl: round 3 phase 1: the exchange failed: unhandled system error (socket closed)");
  CHECK(e.what == cause::transport);
  e = after_start({.start = ncclInvalidUsage}, nothing);
  CHECK(e.message == "diloco: nccl: round 3 phase 1: starting the exchange failed: invalid usage");
  e = after_start({.in_progress = 5}, [] { fake::fail(0, ncclSystemError); });
  CHECK(e.message == "diloco: nccl: round 3 phase 1: starting the exchange failed: unhandled system error");
  for (char const* call : {"cudaEventCreateWithFlags", "cudaEventRecord", "cudaEventQuery"}) {
    e = after_start({.cuda_fails = call}, nothing);
    CHECK(e.message == say({"diloco: nccl: ", call, " failed: some CUDA error"}));
    CHECK(e.what == cause::transport);
    CHECK(cudaGetLastError() == cudaSuccess);
  }
  for (char const* call : {"cudaStreamIsCapturing", "cudaEventRecord", "cudaStreamWaitEvent"}) {
    with_two([&](nccl& zero, nccl&) {
      pool p;
      cudaStream_t const stream = fake::held_stream();
      fake::set({.cuda_fails = call});
      zero.after(stream_executor{stream});
      auto const got = zero.exchange(p.slots(1), 1, {3, 1}).wait(soon());
      REQUIRE_FALSE(got);
      CHECK(got.error().message ==
            say({"diloco: nccl: round 3 phase 1: the communicator is out of service since: diloco: "
                 "nccl: ",
                 call, " failed: some CUDA error"}));
      CHECK(p.out == 0);
      CHECK(cudaGetLastError() == cudaSuccess);
      fake::set({});
    });
  }
  // A peer fails in the middle of a group. The group must still be closed.
  with_two([&](nccl& zero, nccl&) {
    pool p;
    fake::set({.start = ncclInvalidUsage});
    wires w{p.get(32), p.get(32)};
    CHECK_FALSE(zero.all_to_all(std::move(w), {0, 0}).wait(soon()));
    fake::set({});
  });
  with_two([&](nccl& zero, nccl& one) {
    pool p;
    auto a = zero.exchange(p.slots(1), 1, {0, 0}), b = one.exchange(p.slots(1), 0, {0, 0});
    CHECK(a.wait(soon()));
    CHECK(b.wait(soon()));
  });
}

TEST_CASE("nccl: a call that stays in progress ends at the deadline, and the one behind it is never made") {
  with_two(
      [](nccl& zero, nccl&) {
        pool p;
        auto first = zero.all_gather(p.slots(2), {7, 2});
        auto second = zero.exchange(p.slots(1), 1, {8, 0});
        auto const missed = first.wait(soon(0.1));
        REQUIRE_FALSE(missed);
        CHECK(missed.error().message.starts_with(late));
        auto const calls = fake::calls();
        CHECK(std::count(calls.begin(), calls.end(), "ncclSend") == 0);
        CHECK(fake::count().misuses == 0);
        fake::set({});
      },
      {.in_progress = 1 << 30});
}

TEST_CASE("nccl: a communicator of the caller's is used and left to the caller") {
  auto const refused = nccl::borrow(nullptr);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message == "diloco: nccl: the communicator given cannot be used: some NCCL error");
  fake::reset({});
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  auto const id = fake::unique_id();
  std::array<ncclComm_t, 2> comms{};
  for (int rank : {0, 1}) CHECK(ncclCommInitRankConfig(&comms[rank], 2, id, rank, &config) == ncclInProgress);
  ncclResult_t state = ncclInProgress;
  for (ncclComm_t c : comms) CHECK((ncclCommGetAsyncError(c, &state) == ncclSuccess && state == ncclSuccess));
  pool p;
  {
    nccl zero(comms[0]), one(comms[1]);
    CHECK((one.rank() == 1 && one.size() == 2));
    auto a = zero.exchange(p.slots(1, 5), 1, {0, 0}), b = one.exchange(p.slots(1, 6), 0, {0, 0});
    auto const got = a.wait(soon());
    REQUIRE(got);
    CHECK(value_of(got->message(1)) == 6);
    CHECK(b.wait(soon()));
  }
  CHECK((fake::count().finalizes == 0 && fake::count().destroys == 0 && fake::count().streams == 0));
  {
    nccl zero(comms[0]);
    CHECK_FALSE(zero.all_gather(p.slots(2), {0, 0}).wait(soon(0.05)));
  }
  CHECK(fake::count().aborts == 0);
  CHECK(fake::count().revokes == (revokes ? 1 : 0));
  CHECK(fake::count().destroys == 0);
  CHECK(p.out == (revokes ? 0 : 2));
}

TEST_CASE("nccl: a destructor waits for a while and not for ever") {
  auto const start = now();
  fake::reset({});
  auto t = std::make_unique<nccl>(nccl::make(fake::unique_id(), 0, 1).value());
  fake::set({.finalize_ends = false});
  t.reset();
  CHECK(seconds_since(start) >= 5);
  CHECK(seconds_since(start) < 8);
  CHECK((fake::count().destroys == 0 && fake::count().aborts == 0 && fake::count().streams == 1));
  fake::reset({});
}
