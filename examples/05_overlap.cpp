// SPDX-License-Identifier: Apache-2.0
// A round by hand: launch, continue to step while the messages are in flight, land. Δ was measured at step t,
// so it is applied to the anchor of step t, although it lands at t + τ.
// `mix` is the share of the steps in between that is kept: θ ← mix·θ + (1 − mix)·θ̄. The anchor is never
// mixed, so it stays the same on every worker.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

namespace {

constexpr int rounds = 8, steps_between = 10, steps_in_flight = 4;
constexpr float mix = 0.5f;

float measured[rounds][2];  // θ of each worker at the launch of each round
bool right[2] = {true, true};

bool close(float a, float b) { return std::abs(a - b) < 1e-6f; }

void train(diloco::threads transport) {
  int const rank = transport.rank();
  float const target = rank == 0 ? 1.0f : 3.0f;
  std::vector<float> x(1000), gradient(x.size());
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.05f})
                             .with_outer(diloco::plain_sgd{.lr = 1.0f})
                             .with_transport(std::move(transport))
                             .with_schedule(diloco::manual{}),
                         std::vector<diloco::tensor>{{"x", {1000}, x.data()}});
  if (rank == 0)
    std::printf("%s\n           θ at t    θ at t+τ           θ̄   θ landed\n", trainer.describe().c_str());
  auto const inner_step = [&] {
    for (std::size_t i = 0; i < x.size(); ++i) gradient[i] = x[i] - target;
    trainer.step(std::vector<std::span<float const>>{gradient});
  };

  for (int round = 0; round < rounds; ++round) {
    for (int step = 0; step < steps_between; ++step) inner_step();
    float const before = x[0];
    measured[round][rank] = before;
    // [overlap]
    auto flight = trainer.launch();  // step t: Δ = θ̄ − θ is measured, encoded and sent
    for (int step = 0; step < steps_in_flight; ++step) inner_step();  // θ moves on during the flight
    float const local = x[0];
    trainer.land(std::move(flight), {.mix = mix});  // step t+τ: waits for missing messages, then applies them
    // [/overlap]
    float const anchor = trainer.cell("x", "anchor")[0];
    if (rank == 0) {
      std::printf("round %d %12.5f %11.5f %11.5f %10.5f\n", round, static_cast<double>(before),
                  static_cast<double>(local), static_cast<double>(anchor), static_cast<double>(x[0]));
    }
    // With an outer step of 1, the new anchor is the mean of the values measured at t, whatever happened
    // until t+τ.
    right[rank] = right[rank] && close(anchor, 0.5f * (measured[round][0] + measured[round][1]));
    right[rank] = right[rank] && close(x[0], mix * local + (1 - mix) * anchor);
  }
  right[rank] = right[rank] && trainer.steps() == rounds * (steps_between + steps_in_flight);
}

}  // namespace

int main() {
  diloco::run_threads(2, train);
  bool const both = right[0] && right[1];
  std::printf("%s\n", both ? "each anchor is the mean at t, and θ the mix at t+τ" : "not what the text says");
  return both ? 0 : 1;
}
