// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/executors.hpp"
#include "support/pattern.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// Small models to train, and helpers that inspect a trainer from outside.
namespace toy {

/// A reproducible number in [−1, 1) for an index. Every compiler computes the same bits.
inline float number(std::uint64_t seed, std::uint64_t place) {
  std::uint64_t const h = diloco::mix64(diloco::mix64(seed + 1, place + 1), seed);
  return static_cast<float>(static_cast<std::int32_t>(h >> 32) >> 8) * 0x1p-23f;
}

/// Tensors t0, t1, … of the given sizes. The same seed gives the same numbers.
class model {
 public:
  explicit model(std::vector<std::size_t> const& sizes, std::uint64_t seed = 1) {
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      values_.emplace_back(sizes[t]);
      for (std::size_t i = 0; i < sizes[t]; ++i) values_[t][i] = number(seed + t, i);
    }
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      parameters_.push_back({std::string("t").append(std::to_string(t)), {sizes[t]}, values_[t].data()});
    }
    gradients_ = values_;
  }
  model(model const&) = delete;
  model& operator=(model const&) = delete;

  [[nodiscard]] std::vector<diloco::tensor>& parameters() { return parameters_; }
  [[nodiscard]] std::vector<diloco::tensor> const& parameters() const { return parameters_; }
  [[nodiscard]] std::vector<float>& operator[](std::size_t t) { return values_[t]; }

  /// Gradients of one worker at one step, with unequal sizes over the tensors. Each call refills and returns
  /// the same vectors.
  [[nodiscard]] std::vector<std::vector<float>>& gradients(int rank, long step) {
    for (std::size_t t = 0; t < gradients_.size(); ++t) {
      auto const seed = static_cast<std::uint64_t>(1000 + 100 * step + 10 * rank) + t;
      for (std::size_t i = 0; i < gradients_[t].size(); ++i) gradients_[t][i] = 0.1f * number(seed, i);
    }
    return gradients_;
  }

 private:
  std::vector<std::vector<float>> values_, gradients_;
  std::vector<diloco::tensor> parameters_;
};

/// A cell, or an empty span if the recipe has no such column.
template <class Trainer>
std::span<float const> cell_or_none(Trainer const& trainer, std::string_view row, std::string_view column) {
  auto const found = trainer.try_cell(row, column);
  return found ? *found : std::span<float const>{};
}

/// The bits of everything that a trainer exposes, by "tensor column".
using bits = std::map<std::string, std::vector<std::uint32_t>>;

template <class Trainer>
bits state_of(Trainer const& trainer, model const& m) {
  bits all;
  for (diloco::tensor const& t : m.parameters()) {
    for (char const* column :
         {"theta", "anchor", "residual", "outer.momentum", "inner.momentum", "inner.m", "inner.v"}) {
      std::vector<std::uint32_t> cell;
      for (float x : cell_or_none(trainer, t.name, column)) cell.push_back(diloco::bits_of(x));
      if (!cell.empty()) all[t.name + " " + column] = std::move(cell);
    }
  }
  return all;
}

/// An error, or an empty optional; and the same as text.
using outcome = std::optional<diloco::error>;
template <class Result>
outcome outcome_of(Result const& r) {
  return r ? outcome{} : outcome{r.error()};
}
inline std::string sentence(outcome const& o) { return o ? o->message : "no error"; }

#if DILOCO_EXCEPTIONS
/// Runs worker(transport) on K threads and collects the return values. A thread that throws fails the test.
template <class Worker>
auto on_each_rank(int ranks, Worker&& worker) {
  using returned = std::invoke_result_t<Worker&, diloco::threads>;
  // Elements of std::vector<bool> share a word, so threads that write them would lose each other's values.
  using stored = std::conditional_t<std::is_same_v<returned, bool>, char, returned>;
  std::vector<stored> all(static_cast<std::size_t>(ranks));
  diloco::run_threads(ranks, [&](diloco::threads transport) {
    auto const rank = static_cast<std::size_t>(transport.rank());
    all[rank] = worker(std::move(transport));
  });
  return all;
}
#endif

/// A trainer of these four policies. The exchange is chosen at run time, so both patterns share one type.
/// one type.
struct chosen {
  pattern which = pattern::gather;
  static constexpr std::string_view name = "chosen";
  static constexpr diloco::same_compressor second{};
  [[nodiscard]] diloco::leg_list legs(int ranks) const { return legs_of(which, ranks); }
  friend bool operator==(chosen const&, chosen const&) = default;
};
inline constexpr pattern patterns[] = {pattern::gather, pattern::scatter_gather};

template <class Inner, class Outer, class Compressor, class Transport,
          class Executor = support::main_executor, class Probe = diloco::silent>
using trainer_of = diloco::DiLoCo<Inner, Outer, Compressor, Transport, diloco::error_feedback,
                                  diloco::weighted_mean, chosen, diloco::every, Executor, Probe>;

}  // namespace toy
