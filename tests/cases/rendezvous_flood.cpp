// SPDX-License-Identifier: Apache-2.0
// Rule 58: every wait of a rendezvous ends at its deadline, whatever connects and whatever stands in place of
// a file. The ranks that came learn who was missing.
#include "support/sockets.hpp"

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <filesystem>
#include <thread>

using namespace diloco;

namespace {

using namespace sockets;
auto now() { return std::chrono::steady_clock::now(); }

/// A rank that meets on its own thread.
template <class Store>
class meeting {
 public:
  meeting(Store s, double seconds) : store_(std::move(s)) {
    thread_ = std::jthread([this, seconds] {
      auto const start = now();
      std::vector<std::byte> bytes(8, std::byte(store_.rank == 0 ? 7 : 0));
      auto const met = store_.share(bytes, deadline_after(seconds));
      text_ = met ? bytes[7] == std::byte{7} ? "met" : "wrong bytes" : met.error().message;
      what_ = met ? cause::bad_setting : met.error().what;
      took_ = seconds_since(start);
    });
  }
  std::string text() {
    if (thread_.joinable()) thread_.join();
    return text_;
  }
  double took() { return (void)text(), took_; }
  cause what() { return (void)text(), what_; }

 private:
  Store store_;
  std::string text_;
  cause what_{};
  double took_ = 0;
  std::jthread thread_;
};
using tcp = meeting<tcp_store>;
using files = meeting<file_store>;

/// Four threads that connect and close as fast as they can.
class flood {
 public:
  explicit flood(int port, bool speaks = false) {
    for (int i = 0; i < 4; ++i) {
      threads_.emplace_back([this, port, speaks] {
        sockaddr_in const a = at(port);
        while (!over_) {
          detail::descriptor const s(
              ::socket(AF_INET, SOCK_STREAM | (speaks ? 0 : SOCK_NONBLOCK) | SOCK_CLOEXEC, 0));
          (void)::connect(s.get(), reinterpret_cast<sockaddr const*>(&a), sizeof a);
          if (speaks) (void)::send(s.get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
        }
      });
    }
  }
  ~flood() { over_ = true; }

 private:
  std::atomic<bool> over_{false};
  std::vector<std::jthread> threads_;
};

/// A private folder. The destructor removes it with everything in it.
struct folder {
  std::string path = (std::filesystem::temp_directory_path() / "diloco_meeting_XXXXXX").string();
  folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~folder() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string file(char const* name) const { return path + "/" + name; }
};

}  // namespace

TEST_CASE("tcp: a flood of connections does not move the deadline, and does not keep ranks out") {
  for (bool const speaks : {false, true}) {
    int const port = free_port();
    {
      tcp zero({0, 2, host, port}, 0.5);
      nap(100);
      flood const strangers(port, speaks);
      CHECK(zero.text() == say({"diloco: rendezvous: rank 1 of a world of 2 did not come to ", host, ":",
                                port, " before the deadline"}));
      CHECK(zero.took() < 2);
    }
    tcp zero({0, 3, host, port}, 20);
    nap(100);
    flood const strangers(port, speaks);
    tcp one({1, 3, host, port}, 20), two({2, 3, host, port}, 20);
    CHECK(zero.text() == "met");
    CHECK(one.text() == "met");
    CHECK(two.text() == "met");
  }
}

TEST_CASE("tcp: ranks that came hear who was missing, whoever's deadline is first") {
  int const port = free_port();
  std::string const where = say({host, ":", port});
  {
    tcp zero({0, 5, host, port}, 0.6);
    nap(50);
    tcp one({1, 5, host, port}, 20), three({3, 5, host, port}, 20);
    CHECK(zero.text() == say({"diloco: rendezvous: ranks 2 and 4 of a world of 5 did not come to ", where,
                              " before the deadline"}));
    for (tcp* const rank : {&one, &three}) {
      CHECK(rank->text() == say({"diloco: rendezvous: rank 0 at ", where,
                                 " gave up at its deadline: ranks 2 and 4 of a world of 5 did not come"}));
      CHECK(rank->what() == cause::timeout);
      CHECK(rank->took() < 3);
    }
  }
  {
    tcp zero({0, 3, host, port}, 1.0), one({1, 3, host, port}, 0.6);
    CHECK(one.text() ==
          say({"diloco: rendezvous: rank 0 at ", where,
               ": it was reached, and rank 2 of a world of 3 did not come before the deadline"}));
    CHECK(zero.text() == say({"diloco: rendezvous: rank 2 of a world of 3 did not come to ", where,
                              " before the deadline; rank 1 came and left"}));
  }
  // Rank 0 came. All others came and left.
  tcp zero({0, 3, host, port}, 1.0);
  {
    tcp one({1, 3, host, port}, 0.2);
    (void)one.text();
  }
  tcp two({2, 3, host, port}, 0.2);
  (void)two.text();
  CHECK(zero.text() == say({"diloco: rendezvous: ranks 1 and 2 of a world of 3 came and left again at ",
                            where, " before the deadline"}));
}

TEST_CASE("tcp: somebody who sends byte by byte does not hold a rank beyond its deadline") {
  int port = 0;
  auto const owner = listener(port);
  std::atomic<bool> over{false};
  std::jthread const drip([&] {
    detail::descriptor const guest(::accept(owner.get(), nullptr, nullptr));
    auto const answer = detail::hello{0, 2, 8, 0, 0}.pack(detail::answer_magic);
    for (std::size_t i = 0; !over && i < answer.size(); ++i, nap(40))
      (void)::send(guest.get(), &answer[i], 1, MSG_NOSIGNAL);
  });
  tcp one({1, 2, host, port}, 0.4);
  CHECK(one.text().starts_with(
      say({"diloco: rendezvous: rank 0 at ", host, ":", port, ": it was reached, and "})));
  CHECK(one.took() < 1.2);
  over = true;
}

TEST_CASE("tcp: a name that nobody resolves, within the deadline") {
  tcp zero({0, 2, "rank-0.invalid", 29500}, 0.5), one({1, 2, "rank-0.invalid", 29500}, 0.5);
  CHECK(zero.text().starts_with(
      "diloco: rendezvous: the address 'rank-0.invalid' of rank 0 (MASTER_ADDR) cannot be resolved: "));
  CHECK(one.text().starts_with(
      "diloco: rendezvous: rank 0 at rank-0.invalid:29500: the address (MASTER_ADDR) cannot be resolved: "));
  CHECK(zero.took() < 2);
  CHECK(one.took() < 2);
}

TEST_CASE(
    "tcp: a world larger than the limit of open files is refused at once; one that fits has fewer "
    "strangers") {
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  auto const with = [&](rlim_t most) {
    rlimit const changed{most, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &changed) == 0);
  };
  int const port = free_port();
  with(256);
  {
    tcp zero({0, 300, host, port}, 20);
    CHECK(zero.text().starts_with("diloco: rendezvous: a world of 300 needs 3"));
    CHECK(zero.text().ends_with(
        " open files at rank 0 and RLIMIT_NOFILE is 256; raise it (ulimit -n), or meet by a file_store"));
    CHECK(zero.what() == cause::bad_setting);
    CHECK(zero.took() < 1);
  }
  int open = 0;
  for (int fd = 0; fd < 256; ++fd) open += ::fcntl(fd, F_GETFD) != -1;
  with(static_cast<rlim_t>(open + 16));  // the ranks of this process need sockets as well
  {
    tcp zero({0, 3, host, port}, 10);
    nap(50);
    {
      std::vector<detail::descriptor> silent;
      for (int i = 0; i < 4; ++i) {
        silent.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in const a = at(port);
        (void)::connect(silent.back().get(), reinterpret_cast<sockaddr const*>(&a), sizeof a);
      }
      nap(150);
    }
    tcp one({1, 3, host, port}, 10), two({2, 3, host, port}, 10);
    CHECK(zero.text() == "met");
    CHECK(one.text() == "met");
    CHECK(two.text() == "met");
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("files: what is no file is named at once, and stays") {
  struct thing {
    char const* text;
    void (*make)(std::string const&);
  };
  for (thing const& t :
       {thing{"a FIFO", [](std::string const& p) { REQUIRE(::mkfifo(p.c_str(), 0600) == 0); }},
        thing{"a directory", [](std::string const& p) { REQUIRE(::mkdir(p.c_str(), 0700) == 0); }},
        thing{"a device", [](std::string const& p) { REQUIRE(::symlink("/dev/zero", p.c_str()) == 0); }},
        thing{"a socket", [](std::string const& p) {
                detail::descriptor const s(::socket(AF_UNIX, SOCK_STREAM, 0));
                sockaddr_un a{};
                a.sun_family = AF_UNIX;
                std::strncpy(a.sun_path, p.c_str(), sizeof a.sun_path - 1);
                REQUIRE(::bind(s.get(), reinterpret_cast<sockaddr*>(&a), sizeof a) == 0);
              }}}) {
    for (char const* const name : {"meet", "meet.0", "meet.1"}) {
      for (int const rank : {0, 1}) {
        folder const place;
        CAPTURE(t.text);
        CAPTURE(name);
        CAPTURE(rank);
        t.make(place.file(name));
        files one({rank, 2, place.file("meet"), "run"}, 5);
        CHECK(one.text() ==
              say({"diloco: rendezvous: '", place.file("meet"), "': '", place.file(name), "' is ", t.text,
                   " and no file of a meeting; remove it, or choose another path"}));
        CHECK(one.what() == cause::bad_file);
        CHECK(one.took() < 2);
        CHECK(std::filesystem::exists(std::filesystem::symlink_status(place.file(name))));
      }
    }
  }
}

TEST_CASE("files: FIFOs under old names, links, and a file of 1 TiB are in nobody's way") {
  folder const place;
  for (char const* const name : {"meet.part", "meet.0.part", "meet.1.part"})
    REQUIRE(::mkfifo(place.file(name).c_str(), 0600) == 0);
  REQUIRE(::symlink(place.file("elsewhere").c_str(), place.file("meet").c_str()) == 0);
  {
    detail::descriptor const huge(::open(place.file("meet.1").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    (void)!::ftruncate(huge.get(), off_t{1} << 40);
  }
  files zero({0, 2, place.file("meet"), "run"}, 10), one({1, 2, place.file("meet"), "run"}, 10);
  CHECK(zero.text() == "met");
  CHECK(one.text() == "met");
  CHECK_FALSE(std::filesystem::exists(place.file("elsewhere")));
}

TEST_CASE("files: ranks that came hear who was missing, whoever's deadline is first") {
  folder const place;
  std::string const path = place.file("meet"), start = say({"diloco: rendezvous: '", path, "': "});
  for (bool const rank_0_first : {true, false}) {
    files zero({0, 5, path, "run"}, rank_0_first ? 0.8 : 1.5);
    files one({1, 5, path, "run"}, rank_0_first ? 1.5 : 0.8),
        three({3, 5, path, "run"}, rank_0_first ? 1.5 : 0.8);
    for (files* const rank : {&one, &three}) {
      CHECK(rank->text() ==
            start + (rank_0_first
                         ? "rank 0 was there and is gone; ranks 2 and 4 of a world of 5 had not come"
                         : "rank 0 is there, and ranks 2 and 4 of a world of 5 did not come before the "
                           "deadline"));
      CHECK(rank->what() == cause::timeout);
    }
    CHECK(zero.text() == start + "ranks 2 and 4 of a world of 5 did not come before the deadline" +
                             (rank_0_first ? "" : "; ranks 1 and 3 came and left"));
    CHECK(std::filesystem::is_empty(place.path));
  }
}
