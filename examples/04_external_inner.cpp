// SPDX-License-Identifier: Apache-2.0
// A framework that keeps its own optimizer. It steps its parameters itself and then calls `after_step`.
// diloco then has no inner state and changes the parameters only when a round lands.
// The workers' batches differ in size. So each step also reports its tokens, and the round takes the
// token-weighted mean.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

namespace framework {

/// Stands for your framework: a heavy-ball optimizer that diloco does not know.
class optimizer {
 public:
  explicit optimizer(std::vector<float>& parameters)
      : parameters_(parameters), velocity_(parameters.size()) {}
  void step(std::vector<float> const& gradient) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      velocity_[i] = 0.5f * velocity_[i] + gradient[i];
      parameters_[i] -= 0.02f * velocity_[i];
    }
  }

 private:
  std::vector<float>& parameters_;
  std::vector<float> velocity_;
};

}  // namespace framework

/// Trains one worker toward `target`, with `tokens` in each of its batches. Returns its final x.
float train(diloco::threads transport, float target, double tokens) {
  std::vector<float> x(4096), gradient(x.size());
  framework::optimizer optimizer(x);
  bool const talks = transport.rank() == 0;

  // [trainer]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::external{})
                             .with_compressor(diloco::bf16{})
                             .with_transport(std::move(transport))
                             .with_schedule(diloco::every(10)),
                         std::vector<diloco::tensor>{{"x", {64, 64}, x.data()}});
  // [/trainer]
  if (talks) std::printf("%s\n", trainer.describe().c_str());

  for (int step = 0; step < 800; ++step) {
    for (std::size_t i = 0; i < x.size(); ++i) gradient[i] = x[i] - target;
    // [step]
    optimizer.step(gradient);    // the framework's step
    trainer.after_step(tokens);  // diloco counts it and runs a round after every tenth
    // [/step]
  }
  return x[0];
}

int main() {
  float ended[2] = {};
  diloco::run_threads(2, [&](diloco::threads transport) {
    int const rank = transport.rank();
    ended[rank] =
        rank == 0 ? train(std::move(transport), 1.0f, 3000) : train(std::move(transport), 5.0f, 1000);
  });
  // Three quarters of all tokens pulled toward 1, one quarter toward 5.
  float const mean = 0.75f * 1.0f + 0.25f * 5.0f;
  std::printf("the workers end at %.4f and %.4f; the mean by tokens is %.4f\n", static_cast<double>(ended[0]),
              static_cast<double>(ended[1]), static_cast<double>(mean));
  return ended[0] == ended[1] && std::abs(ended[0] - mean) < 0.01f ? 0 : 1;
}
