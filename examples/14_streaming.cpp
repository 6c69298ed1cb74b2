// SPDX-License-Identifier: Apache-2.0
// Streaming DiLoCo: the model in four fragments, each with a round every 20 steps, launched in turn. A message is
// under way while five more steps are taken. What is sent at once is a quarter of what every(20) sends.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

namespace {

constexpr int layers = 8, width = 4096, steps = 210;
constexpr std::size_t ranks = 2;
double distance[2][ranks];        // of θ from the optimum, for each schedule and rank
std::size_t at_once[2];           // bytes that rank 0 sends at once
std::uint64_t committed[2] = {};  // rounds, of all fragments

// Each worker pulls its layers towards a point of its own. The optimum is the mean of these points.
template <class Schedule>
void train(diloco::threads transport, int which, Schedule schedule) {
  int const rank = transport.rank();
  std::vector<std::vector<float>> values(layers, std::vector<float>(width)), gradients = values;
  std::vector<diloco::tensor> parameters;
  for (auto& v : values)
    parameters.push_back({diloco::say({"layer", parameters.size()}), {v.size()}, v.data()});
  // [streaming]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.05f})
                             .with_outer(diloco::nesterov{.lr = 0.4f, .momentum = 0.5f})
                             .with_compressor(diloco::absmax<4>{})
                             .with_transport(std::move(transport))
                             .with_schedule(schedule),
                         parameters);
  // [/streaming]
  if (rank == 0) std::printf("%s\n", trainer.describe().c_str());
  auto const target = [&](int layer) { return static_cast<float>(layer) + (rank == 0 ? 1.0f : -1.0f); };
  for (int step = 0; step < steps; ++step) {
    for (int l = 0; l < layers; ++l) {
      auto const& x = values[static_cast<std::size_t>(l)];
      for (std::size_t i = 0; i < x.size(); ++i) gradients[static_cast<std::size_t>(l)][i] = x[i] - target(l);
    }
    trainer.step(std::vector<std::span<float const>>(gradients.begin(), gradients.end()));
  }
  trainer.sync();  // lands what is under way, then one round of each fragment: all workers hold the anchor
  double sum = 0;
  for (int l = 0; l < layers; ++l) {
    for (float x : values[static_cast<std::size_t>(l)]) sum += std::abs(static_cast<double>(x) - l);
  }
  distance[which][rank] = sum / (layers * width);
  if (rank == 0) {
    at_once[which] = trainer.wire_bytes_at_once();
    committed[which] = trainer.rounds();
  }
}

}  // namespace

int main() {
  diloco::run_threads(ranks, [](diloco::threads t) { train(std::move(t), 0, diloco::every(20)); });
  // [schedule]
  diloco::streaming const schedule{.inner_steps = 20, .parts = 4, .delay = 5, .mix = 0.5f};
  // [/schedule]
  diloco::run_threads(ranks, [&](diloco::threads t) { train(std::move(t), 1, schedule); });
  for (int which : {0, 1}) {
    std::printf("%-9s %3llu rounds, %6zu bytes at once, mean distance from the optimum %.4f\n",
                which == 0 ? "every" : "streaming", static_cast<unsigned long long>(committed[which]),
                at_once[which], distance[which][0]);
  }
  bool const equal = distance[0][0] == distance[0][1] && distance[1][0] == distance[1][1];
  bool const close = distance[0][0] < 0.1 && distance[1][0] < 0.1;
  bool const quarter = 3 * at_once[1] < at_once[0] && at_once[0] < 4 * at_once[1];  // but for the headers
  std::printf("%s\n", equal && close && quarter ? "streaming comes as close, with a quarter of the peak"
                                                : "not what the text says");
  return equal && close && quarter ? 0 : 1;
}
