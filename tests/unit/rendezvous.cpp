// SPDX-License-Identifier: Apache-2.0
// Ranks meet over loopback and over files. Also strangers, late ranks and peers that disagree.
#include "support/sockets.hpp"

#include <doctest/doctest.h>

#include <dirent.h>
#include <fcntl.h>
#include <algorithm>
#include <filesystem>

#include <atomic>
#include <functional>
#include <thread>

using namespace diloco;

namespace {

using namespace sockets;
using detail::hello;

std::string text_of(result<> const& r) { return r ? "" : r.error().message; }
deadline soon(double seconds = 20) { return deadline_after(seconds); }
/// A connection from a program that does not know the protocol, or imitates it. Rank 0 may not be listening
/// yet.
detail::descriptor stranger(int port) {
  for (int tries = 0; tries < 500; ++tries) {
    detail::descriptor s(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in const a = at(port);
    if (::connect(s.get(), reinterpret_cast<sockaddr const*>(&a), sizeof a) == 0) return s;
    nap(2);
  }
  return {};
}
void say_to(detail::descriptor const& s, std::span<std::byte const> bytes) {
  (void)::send(s.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}
void say_to(detail::descriptor const& s, std::string const& text) {
  say_to(s, std::as_bytes(std::span(text)));
}

/// Rank 0's answer to a greeting, or -1 if it closes the connection.
int verdict_on(int port, hello const& h) {
  auto const s = stranger(port);
  say_to(s, h.pack());
  hello::packed head;
  if (::recv(s.get(), head.data(), head.size(), MSG_WAITALL) != static_cast<ssize_t>(head.size())) return -1;
  hello answer;
  REQUIRE(answer.unpack(head, detail::answer_magic));
  return answer.rank;
}

std::vector<std::byte> secret(std::size_t n = 128) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(7 * i + 3);
  return bytes;
}
/// Rank r's bytes: rank 0 has the bytes to share, the others zeros.
std::vector<std::byte> bytes_of(int rank) { return rank == 0 ? secret() : std::vector<std::byte>(128); }

/// A rank that meets on its own thread.
template <class Store>
class meeting {
 public:
  meeting(Store s, double seconds = 20) : store_(std::move(s)), bytes_(bytes_of(store_.rank)) {
    thread_ = std::jthread([this, seconds] { outcome_ = store_.share(bytes_, soon(seconds)); });
  }
  std::string text() {
    if (thread_.joinable()) thread_.join();
    return text_of(outcome_);
  }
  cause what() {
    (void)text();
    return outcome_.error().what;
  }
  bool has_it() { return text().empty() && bytes_ == secret(); }

 private:
  Store store_;
  std::vector<std::byte> bytes_;
  result<> outcome_;
  std::jthread thread_;
};
using tcp = meeting<tcp_store>;
using files = meeting<file_store>;

std::uint64_t run_hash(std::string_view run = "") { return detail::hash_of_run(run); }

/// A private folder. The destructor removes it with everything in it.
class folder {
 public:
  folder() { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
  ~folder() {
    for (auto const& name : names()) ::unlink((path_ + "/" + name).c_str());
    ::rmdir(path_.c_str());
  }
  [[nodiscard]] std::string file(std::string const& name) const { return path_ + "/" + name; }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> found;
    DIR* d = ::opendir(path_.c_str());
    while (dirent const* e = ::readdir(d)) {
      if (e->d_name[0] != '.') found.emplace_back(e->d_name);
    }
    ::closedir(d);
    return found;
  }
  void write(std::string const& name, std::span<std::byte const> bytes) const {
    detail::descriptor const f(::open(file(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    REQUIRE(::write(f.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }

 private:
  std::string path_ = (std::filesystem::temp_directory_path() / "diloco_rendezvous_XXXXXX").string();
};

}  // namespace

TEST_CASE("a greeting of which one bit is another is none") {
  auto const good = hello{2, 5, 128, run_hash("a"), 77}.pack();
  hello h;
  REQUIRE(h.unpack(good));
  CHECK((h.rank == 2 && h.size == 5 && h.payload == 128 && h.run == run_hash("a") && h.nonce == 77));
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    REQUIRE_FALSE(h.unpack(bad));
  }
  CHECK_FALSE(h.unpack(good, detail::answer_magic));
}

TEST_CASE("tcp: everybody gets rank 0's bytes, whoever comes first, and again at the same port") {
  int const port = free_port();
  for (int order = 0; order < 6; ++order) {
    CAPTURE(order);
    auto const start = std::chrono::steady_clock::now();
    std::list<tcp> ranks;
    for (int i = 0; i < 5; ++i) {
      ranks.emplace_back(tcp_store{order % 2 == 0 ? i : 4 - i, 5, host, port, "a run"});
      if (order > 3) nap(20);  // these are late, and rank 0 comes last
    }
    for (auto& r : ranks) CHECK(r.has_it());
    CHECK(seconds_since(start) < 10);
  }
}

TEST_CASE("tcp: names and addresses, and a world of one that meets nobody") {
  int const port = free_port();
  tcp first({0, 2, "localhost", port}), second({1, 2, "localhost", port});
  CHECK(first.has_it());
  CHECK(second.has_it());
  // By its own name, a machine may find another address than the others do. So rank 0 listens on all
  // addresses.
  char self[256] = {};
  REQUIRE(::gethostname(self, sizeof self - 1) == 0);
  addrinfo* found = nullptr;
  if (::getaddrinfo(self, nullptr, nullptr, &found) == 0) {
    ::freeaddrinfo(found);
    tcp zero({0, 3, self, port}), one({1, 3, self, port}), two({2, 3, host, port});
    CHECK(zero.has_it());
    CHECK(one.has_it());
    CHECK(two.has_it());
  }
  // An address that this machine does not have, as behind network address translation.
  tcp outside({0, 2, "203.0.113.7", port}), inside({1, 2, host, port});
  CHECK(outside.has_it());
  CHECK(inside.has_it());
  auto bytes = secret();
  CHECK(tcp_store{0, 1}.share(bytes, soon(0)));
  CHECK(file_store{0, 1}.share(bytes, soon(0)));
  CHECK(bytes == secret());
}

TEST_CASE("tcp: strangers are let go and the meeting goes on") {
  int const port = free_port();
  tcp zero({0, 3, host, port}), one({1, 3, host, port});
  std::vector<detail::descriptor> open;
  // and silent: more than rank 0 handles at once
  for (int i = 0; i < 150; ++i) open.push_back(stranger(port));
  for (char const* text : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "DILOCOH1", ""}) {
    open.push_back(stranger(port));
    say_to(open.back(), text);
    say_to(stranger(port), text);  // and closes at once
  }
  std::uint64_t random = 1;
  for (int i = 0; i < 50; ++i) {
    std::string noise(static_cast<std::size_t>(i * 40), 0);
    for (char& c : noise) c = static_cast<char>((random = mix64(random, 5)) >> 40);
    open.push_back(stranger(port));
    say_to(open.back(), noise);
  }
  auto almost = hello{2, 3, 128, run_hash(), 0}.pack();
  open.push_back(stranger(port));
  say_to(open.back(), std::span<std::byte const>(almost).first(47));  // half a greeting
  almost[40] ^= std::byte{1};
  CHECK(verdict_on(port, {}) == static_cast<int>(detail::verdict::other_run));
  auto const wrong = stranger(port);
  say_to(wrong, almost);
  std::byte nothing;
  CHECK(::recv(wrong.get(), &nothing, 1, 0) <= 0);  // dropped without an answer
  tcp two({2, 3, host, port});
  CHECK(two.has_it());
  CHECK(one.has_it());
  CHECK(zero.has_it());
}

TEST_CASE("tcp: who has not said who it is within two seconds is dropped") {
  int const port = free_port();
  tcp zero({0, 2, host, port});
  auto const silent = stranger(port);
  auto const start = std::chrono::steady_clock::now();
  std::byte nothing;
  CHECK(::recv(silent.get(), &nothing, 1, 0) <= 0);
  CHECK(seconds_since(start) > 1);
  CHECK(seconds_since(start) < 8);
  tcp one({1, 2, host, port});
  CHECK(one.has_it());
  CHECK(zero.has_it());
}

TEST_CASE("tcp: a greeting that disagrees is answered, and no number of it is used") {
  int const port = free_port();
  tcp zero({0, 3, host, port, "monday"});
  hello h{1, 3, 128, run_hash("monday"), 0};
  using detail::verdict;
  auto const judged = [&](hello g) { return static_cast<verdict>(verdict_on(port, g)); };
  auto other = h;
  other.run = run_hash("tuesday");
  CHECK(judged(other) == verdict::other_run);
  other = h, other.size = 4;
  CHECK(judged(other) == verdict::other_size);
  other = h, other.payload = std::uint64_t{1} << 62;
  CHECK(judged(other) == verdict::other_payload);
  for (int rank : {-1, 3, 2147483647, -2147483647}) {
    other = h, other.rank = rank;
    CHECK(judged(other) == verdict::no_such_rank);
  }
  other = h, other.rank = 0;
  CHECK(judged(other) == verdict::taken);
  tcp one({1, 3, host, port, "monday"}), two({2, 3, host, port, "monday"});
  CHECK(one.has_it());
  CHECK(two.has_it());
  CHECK(zero.has_it());
}

TEST_CASE("tcp: peers that disagree get a sentence at once, and rank 0 says who is missing") {
  int const port = free_port();
  std::string const where = say({host, ":", port});
  auto const start = std::chrono::steady_clock::now();
  tcp zero({0, 4, host, port, "monday"}, 2.5), two({2, 4, host, port, "monday"}, 1.5);
  nap(300);
  tcp again({2, 4, host, port, "monday"}), wide({1, 5, host, port, "monday"}),
      late({3, 4, host, port, "tuesday"});
  CHECK(again.text() == say({"diloco: rendezvous: rank 2 (RANK) is at ", where,
                             " already; each process has a rank of its own"}));
  CHECK(wide.text() ==
        say({"diloco: rendezvous: rank 0 at ", where, " has a world of 4, rank 1 one of 5 (WORLD_SIZE)"}));
  CHECK(late.text() ==
        say({"diloco: rendezvous: rank 0 at ", where,
             " belongs to another run than rank 3; give all ranks the same run id, and each run its port"}));
  CHECK(again.what() == cause::disagreement);
  CHECK(seconds_since(start) < 2);
  std::vector<std::byte> more(64);
  CHECK(text_of(tcp_store{1, 4, host, port, "monday"}.share(more, soon())) ==
        say({"diloco: rendezvous: rank 0 at ", where,
             " shares other bytes than rank 1; run the same program on all ranks"}));
  CHECK(two.text() ==
        say({"diloco: rendezvous: rank 0 at ", where,
             ": it was reached, and ranks 1 and 3 of a world of 4 did not come before the deadline"}));
  CHECK(two.what() == cause::timeout);
  CHECK(verdict_on(port, {1, 9, 128, run_hash("monday"), 0}) ==
        static_cast<int>(detail::verdict::other_size));
  CHECK(zero.text() == say({"diloco: rendezvous: ranks 1 and 3 of a world of 4 did not come to ", where,
                            " before the deadline; rank 2 came and left; rank 1 came for a world of 9"}));
  CHECK(zero.what() == cause::timeout);
  CHECK(seconds_since(start) < 8);
}

TEST_CASE("tcp: one rank that is missing is named, and many are counted") {
  std::vector<std::byte> bytes(128);
  int const port = free_port();
  CHECK(text_of(tcp_store{0, 2, host, port}.share(bytes, soon(0.2))) ==
        say({"diloco: rendezvous: rank 1 of a world of 2 did not come to ", host, ":", port,
             " before the deadline"}));
  CHECK(text_of(tcp_store{0, 40, host, port}.share(bytes, soon(0.1)))
            .find("ranks 1, 2, 3, 4, 5, 6, 7, 8 and 31 more of a world of 40 did not come") !=
        std::string::npos);
  {
    tcp zero({0, 3, host, port}, 0.6);
    hello const h{1, 3, 128, run_hash(), 0};
    auto const first = stranger(port);
    say_to(first, h.pack());
    nap(100);
    CHECK(verdict_on(port, h) == static_cast<int>(detail::verdict::taken));
    CHECK(zero.text().ends_with("rank 2 of a world of 3 did not come to " + say({host, ":", port}) +
                                " before the deadline; rank 1 came twice"));
  }
  tcp zero({0, 2, host, port}, 0.5);
  (void)verdict_on(port, {1, 2, 128, 1, 0});
  CHECK(zero.text().ends_with("before the deadline; a rank of another run came"));
}

TEST_CASE("tcp: a rank that leaves may come again; one that leaves while all get their bytes is named") {
  int const port = free_port();
  hello const one{1, 3, 128, run_hash(), 0};
  {
    tcp zero({0, 3, host, port});
    {
      auto const gone = stranger(port);
      say_to(gone, one.pack());
      nap(50);
    }
    nap(200);
    tcp again({1, 3, host, port}), two({2, 3, host, port});
    CHECK(again.has_it());
    CHECK(two.has_it());
    CHECK(zero.has_it());
  }
  tcp zero({0, 2, host, port});
  {
    auto const gone = stranger(port);
    say_to(gone, hello{1, 2, 128, run_hash(), 0}.pack());
    std::byte first;
    REQUIRE(::recv(gone.get(), &first, 1, 0) == 1);
  }
  CHECK(zero.text() == "diloco: rendezvous: rank 1 came and was lost before it had the bytes");
  CHECK(zero.what() == cause::peer_lost);
}

TEST_CASE("tcp: a port in use, and one where somebody else answers") {
  int port = 0;
  auto const owner = listener(port);
  std::string const where = say({host, ":", port});
  std::vector<std::byte> bytes(128);
  CHECK(text_of(tcp_store{0, 2, host, port}.share(bytes, soon())) ==
        say({"diloco: rendezvous: the port of ", where,
             " (MASTER_PORT) is in use; choose another, the same for every rank"}));
  std::atomic<bool> over{false}, hangs_up{false};
  std::jthread const other([&] {
    while (!over) {
      pollfd p{owner.get(), POLLIN, 0};
      if (::poll(&p, 1, 10) <= 0) continue;
      detail::descriptor const guest(::accept(owner.get(), nullptr, nullptr));
      if (!hangs_up)
        say_to(guest, "220 mail.example.org ESMTP, and a good day to you, whoever you may be\r\n");
      std::byte sink[64];
      if (!hangs_up) (void)::recv(guest.get(), sink, sizeof sink, 0);
    }
  });
  CHECK(text_of(tcp_store{1, 2, host, port}.share(bytes, soon(0.3))) ==
        say({"diloco: rendezvous: rank 0 at ", where,
             ": something answers there that is not rank 0 of a run of diloco; "
             "choose another port (MASTER_PORT)"}));
  hangs_up = true;
  CHECK(text_of(tcp_store{1, 2, host, port}.share(bytes, soon(0.3))) ==
        say({"diloco: rendezvous: rank 0 at ", where,
             ": it closed the connection each time; is something else at that port (MASTER_PORT)?"}));
  over = true;
}

TEST_CASE("tcp: nobody there, no such host, no such port, no such rank") {
  std::vector<std::byte> bytes(128);
  int const port = free_port();
  auto const start = std::chrono::steady_clock::now();
  auto const alone_there = tcp_store{1, 2, host, port}.share(bytes, soon(0.3));
  CHECK(text_of(alone_there) == say({"diloco: rendezvous: rank 0 at ", host, ":", port,
                                     ": it was not reached before the deadline: Connection refused"}));
  CHECK(alone_there.error().what == cause::timeout);
  CHECK(seconds_since(start) >= 0.3);
  CHECK(seconds_since(start) < 3);
  CHECK(text_of(tcp_store{0, 2, "no host", port}.share(bytes, soon(0.3)))
            .starts_with(
                "diloco: rendezvous: the address 'no host' of rank 0 (MASTER_ADDR) cannot be resolved: "));
  // A link-local address without its interface. Nobody can listen there on any machine.
  auto const deaf = tcp_store{0, 2, "fe80::1", port}.share(bytes, soon());
  CHECK(text_of(deaf).starts_with(say({"diloco: rendezvous: rank 0 cannot listen at fe80::1:", port, ": "})));
  CHECK(deaf.error().what == cause::transport);
  CHECK(text_of(tcp_store{1, 2, "no host", port}.share(bytes, soon(0.2)))
            .starts_with(say({"diloco: rendezvous: rank 0 at no host:", port,
                              ": the address (MASTER_ADDR) cannot be resolved: "})));
  CHECK(text_of(tcp_store{1, 2, "", port}.share(bytes, soon())) ==
        "diloco: rendezvous: the address of rank 0 (MASTER_ADDR) is empty");
  for (int bad : {0, -1, 65536}) {
    CHECK(text_of(tcp_store{1, 2, host, bad}.share(bytes, soon())) ==
          say({"diloco: rendezvous: port = ", bad, " (MASTER_PORT) must be in [1, 65535]"}));
  }
  CHECK(text_of(tcp_store{4, 4, host, port}.share(bytes, soon())) ==
        "diloco: rendezvous: there is no rank 4 in a world of 4");
  CHECK(text_of(tcp_store{-1, 4, host, port}.share(bytes, soon())) ==
        "diloco: rendezvous: there is no rank -1 in a world of 4");
  CHECK(text_of(tcp_store{.rank = 0, .address = host, .port = port}.share(bytes, soon())) ==
        "diloco: rendezvous: size = 0 is no world; say how many ranks meet, and 1 for one that is alone");
  bytes.resize(4097);
  CHECK(text_of(tcp_store{0, 2, host, port}.share(bytes, soon())) ==
        "diloco: rendezvous: 4097 bytes are too many to share here; 4096 are the most");
}

TEST_CASE("environment: each variable is read, and each that is missing or senseless is named") {
  using settings = std::vector<std::pair<char const*, char const*>>;
  auto const with = [](settings const& changed) {
    for (char const* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "DILOCO_RUN_ID"})
      ::unsetenv(name);
    for (auto [name, text] :
         settings{{"RANK", "2"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "h"}, {"MASTER_PORT", "29500"}})
      ::setenv(name, text, 1);
    for (auto [name, text] : changed) text == nullptr ? ::unsetenv(name) : ::setenv(name, text, 1);
    return tcp_store::from_environment();
  };
  auto const refused = [&](settings const& changed) {
    auto const r = with(changed);
    return r ? std::string("nothing") : r.error().message;
  };
  auto const read = with({{"DILOCO_RUN_ID", "monday"}});
  REQUIRE(read);
  CHECK((read->rank == 2 && read->size == 4 && read->address == "h" && read->port == 29500 &&
         read->run == "monday"));
  auto const one =
      with({{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"MASTER_ADDR", nullptr}, {"MASTER_PORT", nullptr}});
  REQUIRE(one);
  CHECK((one->rank == 0 && one->size == 1 && one->run.empty()));
  // A world of one that the launcher contradicts was not intended.
  settings alone{{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"OMPI_COMM_WORLD_SIZE", "4"}};
  CHECK(refused(alone) ==
        "diloco: rendezvous: WORLD_SIZE = 1 and OMPI_COMM_WORLD_SIZE = 4; set WORLD_SIZE to the number of "
        "processes, or "
        "ask for a world of one by tcp_store{.rank = 0, .size = 1}");
  alone.back().second = "1";
  CHECK(with(alone));
  alone.back().second = nullptr;
  CHECK(with(alone));
  CHECK(refused({{"WORLD_SIZE", nullptr}}) ==
        "diloco: rendezvous: the environment has no WORLD_SIZE, which is the number of processes, and 1 for "
        "one that is "
        "alone");
  CHECK(refused({{"RANK", nullptr}}) ==
        "diloco: rendezvous: the environment has no RANK, which is this process's number, from 0");
  CHECK(refused({{"MASTER_ADDR", nullptr}}) ==
        "diloco: rendezvous: the environment has no MASTER_ADDR, which is the host of rank 0");
  CHECK(refused({{"MASTER_ADDR", ""}}).find("no MASTER_ADDR") != std::string::npos);
  CHECK(refused({{"MASTER_PORT", nullptr}}) ==
        "diloco: rendezvous: the environment has no MASTER_PORT, which is a free port of rank 0's host");
  CHECK(refused({{"RANK", "4"}}) == "diloco: rendezvous: RANK = '4' is no whole number in [0, 3]");
  CHECK(refused({{"RANK", "-1"}}) == "diloco: rendezvous: RANK = '-1' is no whole number in [0, 3]");
  CHECK(refused({{"WORLD_SIZE", "0"}}) ==
        "diloco: rendezvous: WORLD_SIZE = '0' is no whole number in [1, 1048576]");
  for (char const* bad : {"", " 1", "1 ", "1.5", "two", "99999999999999999999", "0x10"}) {
    CHECK(refused({{"MASTER_PORT", bad}}) ==
          say({"diloco: rendezvous: MASTER_PORT = '", bad, "' is no whole number in [1, 65535]"}));
  }
}

TEST_CASE("files: everybody gets rank 0's bytes, whoever comes first, and no file is left") {
  folder const place;
  for (int order = 0; order < 4; ++order) {
    std::list<files> ranks;
    for (int i = 0; i < 4; ++i) {
      ranks.emplace_back(
          file_store{order % 2 == 0 ? i : 3 - i, 4, place.file("meet"), say({"run ", order / 2})});
      if (order > 1) nap(30);
    }
    for (auto& r : ranks) CHECK(r.has_it());
    CHECK(place.names().empty());
  }
}

TEST_CASE("files: what earlier runs and others left is told apart") {
  folder const place;
  std::string const path = place.file("meet");
  auto const old =
      [&](std::string const& run) {  // ranks 0 and 1 of a run that was killed after rank 0 had written
        hello const zero{0, 2, 128, run_hash(run), 11}, one{1, 2, 128, run_hash(run), 22};
        place.write("meet.0", zero.pack());
        place.write("meet.1", one.pack());
        auto const head = zero.pack(0x3152'4f43'4f4c'4944ull);
        std::vector<std::byte> record(head.size() + 16 + 128 + 8);
        std::copy(head.begin(), head.end(), record.begin());
        hello::put(record, 48, 11), hello::put(record, 56, 22);
        hello::put(record, record.size() - 8, hello::sum_of(std::span(record).first(record.size() - 8)));
        place.write("meet", record);
      };
  for (std::string const run : {"sunday", "monday"}) {  // files of another run, and of one with the same name
    for (int first : {0, 1}) {
      CAPTURE(run);
      CAPTURE(first);
      old(run);
      files a({first, 2, path, "monday"});
      nap(100);
      files b({1 - first, 2, path, "monday"});
      CHECK(a.has_it());
      CHECK(b.has_it());
      CHECK(place.names().empty());
    }
  }
  for (char const* name : {"meet", "meet.0", "meet.1"}) place.write(name, secret(5000));
  files zero({0, 2, path, "monday"}), one({1, 2, path, "monday"});
  CHECK(zero.has_it());
  CHECK(one.has_it());
  old("sunday");
  std::vector<std::byte> bytes(128);
  CHECK(text_of(file_store{1, 2, path, "monday"}.share(bytes, soon(0.1))) ==
        say({"diloco: rendezvous: '", path,
             "': there is only what another run left; rank 0 did not come before the "
             "deadline, or has another run id"}));
}

TEST_CASE("files: who is missing, who disagrees, and a path that cannot be written") {
  folder const place;
  std::string const path = place.file("meet"), start = say({"diloco: rendezvous: '", path, "': "});
  files zero({0, 4, path, "run"}, 1.5), two({2, 4, path, "run"}, 1);
  nap(200);
  files wide({1, 5, path, "run"});
  CHECK(wide.text() == start + "rank 0 has a world of 4, rank 1 one of 5 (WORLD_SIZE)");
  CHECK(wide.what() == cause::disagreement);
  std::vector<std::byte> other(64);
  CHECK(text_of(file_store{1, 4, path, "run"}.share(other, soon())) ==
        start + "rank 0 shares other bytes than rank 1; run the same program on all ranks");
  CHECK(two.text() ==
        start + "rank 0 is there, and ranks 1 and 3 of a world of 4 did not come before the deadline");
  CHECK(zero.text() ==
        start + "ranks 1 and 3 of a world of 4 did not come before the deadline; rank 2 came and left");
  CHECK(zero.what() == cause::timeout);
  files three({3, 4, path, "run"}, 5);
  nap(100);
  files again({3, 4, path, "run"}, 1);
  CHECK(three.text() == start + "rank 3 (RANK) is there already; each process has a rank of its own");
  // the file of the other rank, which may still be met
  CHECK(place.names() == std::vector<std::string>{"meet.3"});
  CHECK(again.text() == start + "rank 0 did not come before the deadline");
  CHECK(place.names().empty());
  // A rank that had left when its bytes arrived.
  place.write("meet.1", hello{1, 2, 128, run_hash("run"), 5}.pack());
  std::vector<std::byte> bytes(128);
  CHECK(text_of(file_store{0, 2, path, "run"}.share(bytes, soon(0.2))) ==
        start + "rank 1 of a world of 2 did not take what rank 0 wrote before the deadline");
  CHECK(text_of(file_store{0, 2, path, ""}.share(bytes, soon())) ==
        "diloco: rendezvous: a meeting by files needs a run id that is new for each run and the same on "
        "every rank");
  CHECK(text_of(file_store{0, 2, "", "run"}.share(bytes, soon())) ==
        "diloco: rendezvous: a meeting by files needs a path that all ranks see");
  CHECK(
      text_of(file_store{0, 2, place.file("no/folder"), "run"}.share(bytes, soon())) ==
      say({"diloco: rendezvous: cannot write '", place.file("no/folder"), ".0': No such file or directory"}));
}

static_assert(store<tcp_store> && store<file_store>);
