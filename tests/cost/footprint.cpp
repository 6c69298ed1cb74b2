// SPDX-License-Identifier: Apache-2.0
// Memory. The trainer's own account is compared with an executor that records every byte it hands out, and
// with sums computed by hand.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <new>

using namespace diloco;

namespace {

struct ledger {
  std::size_t live = 0, peak = 0, allocations = 0, overruns = 0;
};
constexpr std::size_t fence = 64;  // bytes behind each allocation that must stay unwritten

/// cpp with a record of its allocations.
struct bookkeeping {
  ledger* book = nullptr;

  static constexpr std::string_view name = "bookkeeping";
  static constexpr bool columns_on_host = true;
  static constexpr executor_traits traits{};
  [[nodiscard]] buffer allocate(std::size_t bytes) const {
    book->live += bytes;
    book->peak = std::max(book->peak, book->live);
    book->allocations += 1;
    auto* data = static_cast<std::byte*>(::operator new (bytes + fence, std::align_val_t{64}));
    std::memset(data, 0, bytes);
    std::memset(data + bytes, 0xfe, fence);
    return {data, bytes, release, book};
  }
  [[nodiscard]] buffer allocate_wire(std::size_t bytes) const { return allocate(bytes); }
  template <class Kernel>
  void for_each(std::size_t n, Kernel const& kernel) const {
    cpp{}.for_each(n, kernel);
  }
  void wait() const {}

 private:
  static void release(std::byte* data, std::size_t bytes, void* book) noexcept {
    static_cast<ledger*>(book)->live -= bytes;
    bool const whole =
        std::all_of(data + bytes, data + bytes + fence, [](std::byte b) { return b == std::byte{0xfe}; });
    static_cast<ledger*>(book)->overruns += whole ? 0 : 1;
    ::operator delete (data, std::align_val_t{64});
  }
};
static_assert(executor<bookkeeping>);

/// The contract before round 0: one message of eleven terms, then one with two for each tensor. Each is freed.
std::size_t contract_bytes(std::size_t tensors) {
  return 8 * std::max<std::size_t>(contract_term_count, 2 * tensors);
}

/// Elements of a column. Each tensor begins where its length requires it.
std::size_t column_of(std::vector<std::size_t> const& sizes) {
  std::size_t end = 0;
  for (std::size_t n : sizes) {
    std::size_t const alignment = n < 16 ? 1 : n < 256 ? 4 : 16;
    end = (end + alignment - 1) / alignment * alignment + n;
  }
  return end;
}

/// The part of describe() between `before` and `after`.
std::string told(std::string const& text, std::string const& before, std::string const& after) {
  auto const start = text.find(before) + before.size();
  return text.substr(start, text.find(after, start) - start);
}

/// One run with recorded memory. `columns`, `shard_columns` and `more` are the known state of the policies:
/// columns, and bytes of all ranks together. A tensor of 10000 is a matrix of 125 rows.
template <class Inner, class Outer, class C, class Exchange>
void check_over(Exchange exchange, std::vector<std::size_t> const& sizes, int workers, std::size_t columns,
                std::size_t shard_columns, std::size_t more = 0) {
  CAPTURE(C::name);
  CAPTURE(workers);
  CAPTURE(exchange.legs(workers).name);
  std::vector<ledger> books(static_cast<std::size_t>(workers));
  struct view {
    footprint told;
    std::size_t after_construction, peak_of_construction, allocations, peak_of_run, live_at_end,
        later_allocations;
    std::string description;
  };
  auto const seen = toy::on_each_rank(workers, [&](threads transport) {
    int const rank = transport.rank();
    ledger& book = books[static_cast<std::size_t>(rank)];
    toy::model m(sizes);
    for (tensor& each : m.parameters()) {
      if (each.shape[0] == 10000) each.shape = {125, 80};
    }
    DiLoCo<Inner, Outer, C, threads, error_feedback, weighted_mean, Exchange, every, bookkeeping> t(
        {.exchange = exchange, .transport = std::move(transport), .schedule = every(2), .executor = {&book}},
        m.parameters());
    view v{t.footprint(), book.live, book.peak, book.allocations, 0, 0, 0, t.describe()};
    book.peak = book.live;
    for (long step = 0; step < 6; ++step) t.step(m.gradients(rank, step));
    v.peak_of_run = book.peak;
    v.live_at_end = book.live;
    v.later_allocations = book.allocations - v.allocations;
    return v;
  });
  std::size_t state = 0, parameters = 0;
  for (std::size_t n : sizes) parameters += n;
  for (view const& v : seen) {
    CHECK(v.after_construction == v.told.total_bytes());
    CHECK(v.peak_of_construction == v.told.total_bytes() + contract_bytes(sizes.size()));
    CHECK(v.peak_of_run == v.told.total_bytes());
    CHECK(v.live_at_end == v.told.total_bytes());
    CHECK(v.later_allocations == 0);
    CHECK(v.told.parameters == parameters);
    CHECK(told(v.description, "state ", " B/param") ==
          three_digits(static_cast<double>(v.told.state_bytes) / static_cast<double>(parameters)));
    state += v.told.state_bytes;
  }
  // A shard begins and ends with the alignment of its rows. So each end may differ by at most a cache line.
  std::size_t const column = column_of(sizes) * sizeof(float), ranks = static_cast<std::size_t>(workers);
  std::size_t const exact = ranks * columns * column + shard_columns * column + more,
                    lines = shard_columns * ranks * 64;
  CHECK(state + lines >= exact);
  CHECK(state <= exact + lines);
  for (ledger const& book : books) {
    CHECK(book.live == 0);
    CHECK(book.overruns == 0);
  }
}
template <class Inner, class Outer, class C>
void check(std::vector<std::size_t> const& sizes, int workers, pattern exchange, std::size_t columns,
           std::size_t shard_columns, std::size_t more = 0) {
  check_over<Inner, Outer, C>(toy::chosen{exchange}, sizes, workers, columns, shard_columns, more);
}

}  // namespace

TEST_CASE("footprint: every byte that is allocated is told, and no byte comes later") {
  std::vector<std::size_t> const sizes{1, 255, 256, 257, 4097, 10000};
  // θ̄, two residuals if something is lost, outer momentum, AdamW's m and v. Under scatter–gather, the ranks
  // together keep two more residuals, each its own shard.
  check<adamw, nesterov, absmax<4>>(sizes, 1, pattern::gather, 6, 0);
  check<adamw, nesterov, absmax<4>>(sizes, 1, pattern::scatter_gather, 6, 2);
  check<adamw, nesterov, absmax<4>>(sizes, 3, pattern::gather, 6, 0);
  check<adamw, nesterov, absmax<4>>(sizes, 3, pattern::scatter_gather, 6, 2);
  check<adamw, nesterov, f32>(sizes, 2, pattern::scatter_gather, 4, 0);
  check<plain_sgd, plain_sgd, sign<512>>(sizes, 2, pattern::gather, 3, 0);
  check<lion, sgd, absmax<8, 32>>(sizes, 4, pattern::scatter_gather, 5, 2);
  // Fewer tiles than ranks, so some shards are empty.
  check<adamw, nesterov, absmax<4>>({7}, 4, pattern::scatter_gather, 6, 2);
}

TEST_CASE("footprint: the mean anchor is one column more, in pairs and where all ranks meet") {
  std::vector<std::size_t> const sizes{1, 255, 257, 10000};
  for (int workers : {1, 2, 5}) {
    check_over<adamw, noloco, f32>(gossip{}, sizes, workers, 5, 0);
    check_over<plain_sgd, noloco, absmax<4>>(gossip{}, sizes, workers, 5, 0);
    check_over<plain_sgd, nesterov, f32>(gossip{}, sizes, workers, 2, 0);
  }
  check<plain_sgd, noloco, absmax<4>>(sizes, 3, pattern::scatter_gather, 5, 2);
}

TEST_CASE("footprint: staged compressors, and what they remember") {
  std::vector<std::size_t> const sizes{255, 10000, 257, 10000, 10000};
  check<plain_sgd, nesterov, random_k<64>>(sizes, 3, pattern::gather, 4, 0);
  check<plain_sgd, nesterov, random_k<64>>(sizes, 3, pattern::scatter_gather, 4, 2);
  // Three matrices. low_rank with its own factors remembers Q, 4 × 80 floats, twice on each rank. Each owner
  // keeps it once more for its own part.
  std::size_t const q = 2 * 4 * 80 * sizeof(float), longer = 2 * 4 * 125 * sizeof(float);
  check<plain_sgd, nesterov, low_rank<4>>(sizes, 3, pattern::gather, 4, 0, 3 * 3 * q);
  check<plain_sgd, nesterov, low_rank<4>>(sizes, 3, pattern::scatter_gather, 4, 2, 3 * 3 * q + 3 * q);
  // With a common factor it remembers the longer factor, and the owner needs nothing more.
  using common = low_rank<4, factors::common>;
  check<plain_sgd, nesterov, common>(sizes, 3, pattern::gather, 4, 0, 3 * 3 * longer);
  check<plain_sgd, nesterov, common>(sizes, 3, pattern::scatter_gather, 4, 2, 3 * 3 * longer);
  check<plain_sgd, nesterov, common>(sizes, 1, pattern::scatter_gather, 4, 2, 3 * longer);
}

TEST_CASE("footprint: what describe() says of well-known recipes") {
  toy::model m({4096, 8192});  // whole blocks, so no padding
  auto const state_of = [&]<class Inner, class C>(Inner, C) {
    toy::trainer_of<Inner, nesterov, C, alone> t(
        {.exchange = {}, .transport = alone{}, .schedule = every(500)}, m.parameters());
    return t.describe();
  };
  CHECK(state_of(adamw{}, absmax<4>{}) ==
        "adamw → nesterov · absmax4/256 (4.12 bit) + error_feedback · gather over alone×1 · "
        "every 500 · state 24 B/param · round 37 B/param");
  CHECK(state_of(adamw{}, f32{}) ==
        "adamw → nesterov · f32 (32 bit) · gather over alone×1 · every 500 · state 16 B/param · "
        "round 36 B/param");
  CHECK(state_of(external{}, sign<>{}) ==
        "external → nesterov · sign/256 (1.12 bit) + error_feedback · gather over alone×1 · "
        "every 500 · state 16 B/param · round 36.3 B/param");
}
