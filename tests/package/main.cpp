// SPDX-License-Identifier: Apache-2.0
// Every consumer here builds and runs this: one worker, ten parameters, one round.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cstdio>
#include <span>
#include <vector>

int main() {
  std::vector<float> weights(10, 1.0f);
  std::vector<float> const gradient(10, 0.5f);
  std::vector<diloco::tensor> const parameters{{"weights", {2, 5}, weights.data()}};
  std::vector<std::span<float const>> const gradients{gradient};

  auto trainer = diloco::DiLoCo(
      diloco::recipe{
          .inner = diloco::sgd{.lr = 0.5f},
          .outer = diloco::sgd{.lr = 1.0f},
          .transport = diloco::alone{},
          .schedule = diloco::every(2),
      },
      parameters);
  trainer.step(gradients);
  trainer.step(gradients);

  // θ = 1 − 2 · 0.5 · 0.5. In a world of one, an outer step of 1 makes the round change nothing.
  bool const right = std::all_of(weights.begin(), weights.end(), [](float w) { return w == 0.5f; });
  std::printf("%s: %ld rounds, %s\n", trainer.describe().c_str(), static_cast<long>(trainer.rounds()),
              right ? "as computed by hand" : "wrong");
  return right && trainer.rounds() == 1 ? 0 : 1;
}
