// SPDX-License-Identifier: Apache-2.0
// The program on README's first screen. Four workers learn the same 16,384 numbers. Each worker's data covers
// only about every fourth of them, and all must end with all of them.
#include <diloco/state/layout.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <span>
#include <vector>

/// Stands for your model. It owns its tensors and fills its gradients.
class model {
 public:
  explicit model(int rank) : rank_(static_cast<std::size_t>(rank)) {}

  std::vector<diloco::tensor> parameters() { return {{"w", {128, 128}, w_.data()}}; }  // name, shape, pointer
  std::vector<std::span<float const>> gradients() const { return {gradient_}; }        // in the same order

  void backward() {
    for (std::size_t i = rank_; i < w_.size(); i += 4) gradient_[i] = w_[i] - truth(i);
  }
  bool first() const { return rank_ == 0; }
  float error() const {
    float largest = 0;
    for (std::size_t i = 0; i < w_.size(); ++i) largest = std::max(largest, std::abs(w_[i] - truth(i)));
    return largest;
  }

 private:
  static float truth(std::size_t i) { return std::sin(0.37f * static_cast<float>(i)); }
  std::size_t rank_;
  std::vector<float> w_ = std::vector<float>(128 * 128), gradient_ = w_;
};

std::atomic<int> learned = 0;

void report(model const& m, auto const& trainer) {
  if (m.error() < 0.02f) ++learned;
  if (!m.first()) return;
  std::printf("%s\nafter %lu rounds no number is further off than %.3f\n", trainer.describe().c_str(),
              static_cast<unsigned long>(trainer.rounds()), static_cast<double>(m.error()));
}

// [program]
#include <diloco/diloco.hpp>

using Trainer = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::absmax<4, 256>, diloco::threads>;

int main() {
  diloco::run_threads(4, [](diloco::threads transport) {  // four workers in one process
    model m(transport.rank());                            // your model, its tensors, its part of the data
    Trainer trainer(
        {.inner = {.lr = 0.01f}, .transport = std::move(transport), .schedule = diloco::every(20)},
        m.parameters());
    for (int step = 0; step < 1000; ++step) {
      m.backward();                 // your forward and backward pass
      trainer.step(m.gradients());  // AdamW; every 20th step also runs a round, at 4 bits
    }
    report(m, trainer);
  });
  return learned == 4 ? 0 : 1;
}
// [/program]
