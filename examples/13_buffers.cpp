// SPDX-License-Identifier: Apache-2.0
// Buffers of a model, such as BatchNorm's running variance, are not parameters. No gradient moves them, and
// an outer optimizer with momentum must not step them. A second trainer takes their plain mean right after
// each round.
// The same run with Nesterov instead shows why: a running variance becomes negative.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>

namespace {

constexpr int workers = 2, steps = 200, batch = 32;
constexpr std::size_t channels = 64;
constexpr float variances[workers] = {0.01f, 0.03f};  // of the data that each worker's layer sees

/// A normalization layer. One weight per channel is trained, and two buffers follow the data.
struct layer {
  std::vector<float> weight = std::vector<float>(channels, 1.0f), gradient = std::vector<float>(channels);
  std::vector<float> running_mean = std::vector<float>(channels);
  std::vector<float> running_var = std::vector<float>(channels, 1.0f);
  std::minstd_rand random;

  /// One batch. The gradient is that of the distance between weight and 2, on normalized data.
  void backward(float variance) {
    std::normal_distribution<float> draw(0.5f, std::sqrt(variance));
    for (std::size_t c = 0; c < channels; ++c) {
      float sum = 0, squares = 0;
      for (int i = 0; i < batch; ++i) {
        float const x = draw(random);
        sum += x;
        squares += x * x;
      }
      float const mean = sum / batch, var = squares / batch - mean * mean;
      running_mean[c] += 0.1f * (mean - running_mean[c]);
      running_var[c] += 0.1f * (var - running_var[c]);
      gradient[c] = weight[c] - 2.0f;
    }
  }
};

struct seen {
  float weight = 0, least_var = 1, mean_var = 0, first_var = 0;
};

template <class Outer>
seen train(diloco::threads transport, diloco::threads second, Outer outer) {
  int const rank = transport.rank();
  layer model;
  model.random.seed(static_cast<unsigned>(rank) + 1);
  std::vector<diloco::tensor> const parameters{{"norm.weight", {channels}, model.weight.data()}};
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_transport(std::move(transport))
                             .with_schedule(diloco::every(10)),
                         parameters);
  // [buffers]
  std::vector<diloco::tensor> const buffers{{"norm.running_mean", {channels}, model.running_mean.data()},
                                            {"norm.running_var", {channels}, model.running_var.data()}};
  diloco::DiLoCo averages(diloco::recipe<>{}
                              .with_inner(diloco::external{})  // the model's forward pass writes them
                              .with_outer(outer)               // plain_sgd{.lr = 1}: takes the mean
                              .with_compressor(diloco::f32{})
                              .with_transport(std::move(second))  // a separate transport
                              .with_schedule(diloco::manual{}),
                          buffers);
  // [/buffers]
  seen s;
  for (int step = 0; step < steps; ++step) {
    model.backward(variances[rank]);
    // [step]
    auto const rounds = trainer.rounds();
    trainer.step(std::vector<std::span<float const>>{model.gradient});
    averages.after_step();                            // on every worker, in every step
    if (trainer.rounds() != rounds) averages.sync();  // right after each round
    // [/step]
    s.least_var = std::min(s.least_var, *std::ranges::min_element(model.running_var));
  }
  for (float v : model.running_var) s.mean_var += v / channels;
  s.first_var = model.running_var[0];
  s.weight = model.weight[0];
  return s;
}

template <class Outer>
std::vector<seen> run(Outer outer) {
  std::vector<seen> all(workers);
  diloco::threads_world for_buffers(workers);
  diloco::run_threads(workers, [&](diloco::threads transport) {
    auto const rank = transport.rank();
    all[static_cast<std::size_t>(rank)] = train(std::move(transport), for_buffers.transport(rank), outer);
  });
  auto const least = static_cast<double>(std::min(all[0].least_var, all[1].least_var));
  auto const end = static_cast<double>(all[0].mean_var), weight = static_cast<double>(all[0].weight);
  std::printf("%-9s least variance %9.5f, last %.5f; weight %.4f\n", Outer::name.data(), least, end, weight);
  return all;
}

}  // namespace

int main() {
  auto const mean = run(diloco::plain_sgd{.lr = 1}), momentum = run(diloco::nesterov{});
  bool const same = mean[0].first_var == mean[1].first_var && mean[0].mean_var == mean[1].mean_var;
  bool const positive = mean[0].least_var > 0 && mean[1].least_var > 0;
  bool const right = same && positive && std::abs(mean[0].mean_var - 0.02f) < 0.002f;
  bool const trained = std::abs(mean[0].weight - 2.0f) < 0.01f;
  bool const overshot = momentum[0].least_var < 0 && momentum[1].least_var < 0;
  bool const fine = right && trained && overshot;
  std::printf("%s\n", fine ? "the mean is right, and a momentum goes below 0" : "not what the text says");
  return fine ? 0 : 1;
}
