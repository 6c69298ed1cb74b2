// SPDX-License-Identifier: Apache-2.0
// Messages move over MPI while the caller computes: by calls of the trainer, or by a thread.
#include "support/toy.hpp"

#include <doctest/doctest.h>
#include <diloco/transport/mpi.hpp>

#include <chrono>
#include <thread>

using namespace diloco;

namespace {

constexpr std::size_t slot = std::size_t{1} << 20;  // far more than MPI sends before it is asked for

wires buffers(int size, int rank) {
  wires w{cpp{}.allocate(slot), cpp{}.allocate(slot * static_cast<std::size_t>(size))};
  for (std::size_t i = 0; i < slot; i += 61)
    w.send.data()[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(rank));
  return w;
}
void check_messages(mpi::arrival const& a, int size) {
  for (int k = 0; k < size; ++k) {
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < slot; i += 61)
      wrong += a.message(k)[i] != static_cast<std::byte>(i * 7 + static_cast<std::size_t>(k)) ? 1 : 0;
    CHECK(wrong == 0);
  }
}
auto soon() { return deadline_after(30); }

}  // namespace

TEST_CASE("mpi: progress moves large messages without a wait") {
  mpi transport(MPI_COMM_WORLD);
  auto p = transport.all_gather(buffers(transport.size(), transport.rank()), {0, 0});
  auto q = transport.all_gather(buffers(transport.size(), transport.rank()), {0, 0, 1});
  auto const limit = soon();
  while (!(p.is_complete() && q.is_complete()) && !detail::is_past(limit)) {
    p.progress();  // of all exchanges of the transport
    std::this_thread::yield();
  }
  CHECK(p.is_complete());
  CHECK(q.is_complete());
  auto const none = deadline_after(0);  // nothing is left to wait for
  auto first = p.wait(none), second = q.wait(none);
  REQUIRE(first);
  REQUIRE(second);
  check_messages(*first, transport.size());
  check_messages(*second, transport.size());
}

TEST_CASE("mpi: a thread moves them while this one does nothing") {
  mpi transport(MPI_COMM_WORLD);
  REQUIRE(transport.try_progress_in_background());
  REQUIRE(transport.try_progress_in_background());  // it is there already
  for (std::uint64_t round = 0; round < 3; ++round) {
    auto p = transport.all_gather(buffers(transport.size(), transport.rank()), {round, 0});
    auto const limit = soon();
    while (!p.is_complete() && !detail::is_past(limit))
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    auto arrived = p.wait(deadline_after(0));
    REQUIRE(arrived);
    check_messages(*arrived, transport.size());
  }
}

TEST_CASE("mpi: streaming over it, with and without the thread, is streaming over threads") {
  std::vector<std::size_t> const sizes{300, 7, 700, 5000, 64};
  auto const train = [&](auto transport) {
    int const rank = transport.rank();
    toy::model m(sizes);
    DiLoCo t(recipe<>{}
                 .with_compressor(absmax<4>{})
                 .with_transport(std::move(transport))
                 .with_schedule(streaming{.inner_steps = 8, .parts = 4, .delay = 5, .mix = 0.5f}),
             m.parameters());
    for (long step = 1; step <= 21; ++step) t.step(m.gradients(rank, step));
    t.sync();
    return t.digest();
  };
  mpi plain(MPI_COMM_WORLD), by_thread(MPI_COMM_WORLD);
  by_thread.progress_in_background();
  int const size = plain.size();
  auto const digest = train(std::move(plain));
  CHECK(train(std::move(by_thread)) == digest);
  auto const reference =
      toy::on_each_rank(size, [&](threads transport) { return train(std::move(transport)); });
  CHECK(reference[0] == digest);
}

TEST_CASE("mpi: a transport with a thread ends while messages are under way") {
  mpi transport(MPI_COMM_WORLD);
  transport.progress_in_background();
  auto p = transport.all_gather(buffers(transport.size(), transport.rank()), {0, 0});
  if (transport.rank() != 0) static_cast<void>(p.wait(deadline_after(0.2)));
}
