// SPDX-License-Identifier: Apache-2.0
// Two workers with different goals: worker 0 minimizes ½‖x − 1‖², worker 1 minimizes ½‖x − 3‖². Each takes
// ten steps alone, then both run a round. The fixed point of the round is the minimum of the sum, x = 2,
// which neither worker's data contain.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <vector>

/// Gradient of ½‖x − target‖².
void pull(std::vector<float> const& x, float target, std::vector<float>& gradient) {
  std::transform(x.begin(), x.end(), gradient.begin(), [target](float each) { return each - target; });
}

/// Trains one worker and returns its final x.
float train(diloco::threads transport) {
  int const rank = transport.rank();
  float const target = rank == 0 ? 1.0f : 3.0f;
  std::vector<float> x(5000), gradient(5000);

  // [tensors]
  std::vector<diloco::tensor> const parameters{
      {"x", {50, 100}, x.data()}};                                // name, shape, pointer: x stays ours
  std::vector<std::span<float const>> const gradients{gradient};  // in the same order, of the same sizes
  // [/tensors]

  // [recipe]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(diloco::plain_sgd{.lr = 0.1f})
                             .with_outer(diloco::nesterov{.lr = 0.7f, .momentum = 0.9f})
                             .with_compressor(diloco::absmax<8>{})
                             .with_transport(std::move(transport))
                             .with_schedule(diloco::every(10)),
                         parameters);
  // [/recipe]
  if (rank == 0) std::printf("%s\n", trainer.describe().c_str());

  // [loop]
  for (int step = 1; step <= 600; ++step) {
    pull(x, target, gradient);
    trainer.step(gradients);
    if (rank == 0 && step % 100 == 0) {
      std::printf("step %3d, round %2lu: x = %.5f\n", step, static_cast<unsigned long>(trainer.rounds()),
                  static_cast<double>(x[0]));
    }
  }
  // [/loop]
  return x[0];
}

int main() {
  float ended[2] = {};
  // [run]
  diloco::run_threads(2, [&](diloco::threads transport) {  // one thread per worker
    int const rank = transport.rank();
    ended[rank] = train(std::move(transport));
  });
  // [/run]
  bool const same = ended[0] == ended[1];
  bool const mean = std::abs(ended[0] - 2.0f) < 1e-3f;
  std::printf("worker 0 ends at %.5f and worker 1 at %.5f: %s, %s\n", static_cast<double>(ended[0]),
              static_cast<double>(ended[1]), same ? "the same bits" : "not the same",
              mean ? "the mean of 1 and 3" : "not the mean of 1 and 3");
  return same && mean ? 0 : 1;
}
