// SPDX-License-Identifier: Apache-2.0
// The whole DiLoCo loop (K workers, H = 5, 20 rounds, uneven token weights) with lossless messages, compared
// with plain PyTorch.
// PyTorch keeps AdamW across rounds, computes Δ = anchor − θ and the weighted mean, applies
// torch.optim.SGD(nesterov=True) to the anchor, and sets θ ← anchor.
// The same loop then runs with each other outer optimizer of by_hand.py.

#include "family.hpp"
#include "fixture.hpp"
#include "support/executors.hpp"
#include "tolerance.hpp"

#include <doctest/doctest.h>
#include <diloco/diloco.hpp>

#include <map>

namespace {

using golden::fixture;
using golden::network;

constexpr std::size_t inner_steps = 5, rounds = 20;

diloco::adamw inner_of(fixture const& f) {
  return {.lr = f.number("inner.lr"),
          .beta1 = f.number("inner.beta1"),
          .beta2 = f.number("inner.beta2"),
          .eps = f.number("inner.eps"),
          .weight_decay = f.number("inner.weight_decay")};
}

/// name -> values, everything one worker saw. The main thread compares them after all workers have finished.
using observations = std::map<std::string, std::vector<float>>;

template <class Outer, class Trainer>
void observe(Trainer const& trainer, network const& model, int rank, std::size_t round, observations& seen) {
  auto const copy = [](std::span<float const> s) { return std::vector<float>(s.begin(), s.end()); };
  std::string const worker = std::to_string(rank), number = std::to_string(round);
  for (diloco::tensor const& t : model.tensors) {
    if (round == 1 || round == 2 || round == rounds) {
      seen["theta." + number + "." + t.name] = copy({t.data, t.size()});
      seen["anchor." + number + "." + t.name] = copy(trainer.cell(t.name, "anchor"));
    }
    if (round != rounds) continue;
    for (auto const slot : Outer::slots) {
      std::string const name(slot);
      seen["slot." + name + "." + t.name] = copy(trainer.cell(t.name, "outer." + name));
    }
    seen["exp_avg." + worker + "." + t.name] = copy(trainer.cell(t.name, "inner.m"));
  }
}

/// Every worker replays its own recorded gradients and reports the tokens of each step to the trainer.
template <class Outer, class Exchange>
std::vector<observations> play(fixture const& f, int workers, Outer const& outer, Exchange const& exchange) {
  std::vector<observations> seen(static_cast<std::size_t>(workers));
  diloco::run_threads(workers, [&](diloco::threads transport) {
    int const rank = transport.rank();
    std::string const worker = std::to_string(rank);
    network model(f);
    auto trainer = diloco::DiLoCo(diloco::recipe<>{}
                                      .with_inner(inner_of(f))
                                      .with_outer(outer)
                                      .with_compressor(diloco::f32{})
                                      .with_exchange(exchange)
                                      .with_transport(std::move(transport))
                                      .with_schedule(diloco::every(inner_steps))
                                      .with_executor(support::main_executor{}),
                                  model.tensors);
    for (std::size_t step = 0; step < inner_steps * rounds; ++step) {
      auto const tokens = f["tokens." + worker].at(step);
      trainer.step(golden::gradients(f, "grad." + worker, step), {.tokens = static_cast<double>(tokens)});
      if ((step + 1) % inner_steps == 0) {
        observe<Outer>(trainer, model, rank, (step + 1) / inner_steps,
                       seen.at(static_cast<std::size_t>(rank)));
      }
    }
  });
  return seen;
}

double tolerance_for(std::string const& entry) {
  constexpr auto tolerance = golden::outer_tolerance_f32;
  if (entry.starts_with("slot.")) return tolerance.momentum;
  if (entry.starts_with("exp_avg.")) return tolerance.inner_slots;
  if (entry.find(".1.") != std::string::npos) return tolerance.anchor_after_1;
  return entry.find(".2.") != std::string::npos ? tolerance.anchor_after_2 : tolerance.anchor_after_20;
}

/// Compares what all workers saw with `answer(name)`, a fixture's entry. θ equals the anchor, and both have
/// the same bits on every worker.
template <class Answer>
void check_seen(std::vector<observations> const& seen, Answer const& answer) {
  for (observations const& worker : seen) {
    for (auto const& entry : worker) {
      std::string const& name = entry.first;
      std::vector<float> const& values = entry.second;
      CAPTURE(name);
      bool const is_theta = name.starts_with("theta.");
      auto const& expected = answer(is_theta ? "anchor" + name.substr(5) : name);
      CHECK(golden::distance(values, expected) <= tolerance_for(name));
      if (is_theta) CHECK(values == worker.at("anchor" + name.substr(5)));  // θ ← θ̄
      if (!name.starts_with("exp_avg."))
        CHECK(values == seen.front().at(name));  // the same bits on every worker
    }
  }
}

template <class Outer, class Exchange>
void check_rounds(int workers, Outer const& outer, Exchange const& exchange) {
  fixture const f("outer_k" + std::to_string(workers));
  auto const seen = play(f, workers, outer, exchange);
  for (observations const& worker : seen) REQUIRE(worker.size() == 4 * (2 * 3 + 2));
  check_seen(
      seen, [&](std::string const& name) -> auto const& {
        return f[name.starts_with("slot.") ? name.substr(5) : name];
      });
}

diloco::nesterov outer_of(int workers) {
  fixture const f("outer_k" + std::to_string(workers));
  return {.lr = f.number("outer.lr"), .momentum = f.number("outer.momentum")};
}

}  // namespace

TEST_CASE("golden: the outer loop follows plain PyTorch, gather") {
  for (int const workers : {1, 2, 4}) {
    CAPTURE(workers);
    check_rounds(workers, outer_of(workers), diloco::gather{});
  }
}

TEST_CASE("golden: the outer loop follows plain PyTorch, scatter-gather") {
  for (int const workers : {2, 4}) {
    CAPTURE(workers);
    check_rounds(workers, outer_of(workers), diloco::scatter_gather{});
  }
}

TEST_CASE("golden: sgd with the Nesterov flag as the outer optimizer is the same loop") {
  auto const outer = outer_of(2);
  check_rounds(2, diloco::sgd{.lr = outer.lr, .momentum = outer.momentum, .nesterov = true},
               diloco::gather{});
}

TEST_CASE("golden: every other outer optimizer in the same loop follows its paper's formula") {
  fixture const f("outer_k2"), expected("outer_family");
  for (auto const& each : golden::outer_optimizers(expected, "outer.")) {
    std::string const& name = each.name;
    CAPTURE(name);
    auto const slots = each.optimizer.picked_slots();
    auto seen = play(f, 2, each.optimizer, diloco::gather{});
    for (observations& worker : seen) {
      for (char const* const tensor : {"w1", "b1", "w2", "b2"}) {
        if (slots.empty()) worker.erase(std::string("slot.first.") + tensor);
        if (slots.size() < 2) worker.erase(std::string("slot.second.") + tensor);
      }
      REQUIRE(worker.size() == 4 * (2 * 3 + 1 + slots.size()));
    }
    check_seen(
        seen, [&](std::string const& entry) -> auto const& {
          // The inner state depends on gradients only, and these are Nesterov's.
          if (entry.starts_with("exp_avg.")) return f[entry];
          if (!entry.starts_with("slot.")) return expected[name + "." + entry];
          bool const first = entry.starts_with("slot.first.");
          return expected[name + ".slot." + std::string(slots[first ? 0 : 1]) +
                          entry.substr(entry.rfind('.'))];
        });
  }
}
