// SPDX-License-Identifier: Apache-2.0
// An optimizer of your own in a dozen lines, in both roles. As inner optimizer it steps on gradients, as
// outer optimizer on the combined contributions of all workers. Every rank repeats the outer step, so it
// promises to be replicated.
#include <diloco/diloco.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

// [optimizer]
/// Adagrad (Duchi et al. 2011, figure 1 with a diagonal): p ← p − lr·g / √Σg².
struct adagrad {
  float lr = 0.1f;

  static constexpr std::string_view name = "adagrad";
  static constexpr std::array<std::string_view, 1> slots{"sum"};  // its state columns, initially zero
  // [replicated]
  static constexpr diloco::optimizer_traits traits{.replicated = true};
  // [/replicated]

  struct step {
    float lr;
    DILOCO_HD void operator()(float& p, float g, float& sum) const {
      sum = diloco::fma(g, g, sum);
      p = diloco::fma(-lr, g / std::sqrt(sum > 0.0f ? sum : 1.0f), p);
    }
  };
  [[nodiscard]] constexpr step at(diloco::step_context c) const { return {lr * c.lr_scale}; }
  [[nodiscard]] constexpr float largest() const { return 0x1p51f; }  // squares add up to 2¹²⁷

  template <class F>
  constexpr void fields(F&& f) const {  // its numbers and their ranges
    f("lr", lr, diloco::non_negative);
  }
};
// [/optimizer]

int main() {
  constexpr std::size_t n = 4096;
  std::uint64_t digest[2] = {};
  float error[2] = {};
  diloco::run_threads(2, [&](diloco::threads transport) {
    int const rank = transport.rank();
    std::vector<float> x(n, 1.0f), gradient(n);
    // [use]
    diloco::DiLoCo trainer(diloco::recipe<>{}
                               .with_inner(adagrad{.lr = 0.1f})
                               .with_outer(adagrad{.lr = 0.5f})
                               .with_transport(std::move(transport))
                               .with_schedule(diloco::every(10)),
                           std::vector<diloco::tensor>{{"x", {n}, x.data()}});
    // [/use]
    if (rank == 0) std::printf("%s\n", trainer.describe().c_str());

    for (int step = 0; step < 1000; ++step) {  // ½ Σ s(i)·x(i)², with curvatures s from 0.001 to 1000
      for (std::size_t i = 0; i < n; ++i) {
        gradient[i] = std::pow(10.0f, static_cast<float>(i % 7) - 3.0f) * x[i];
      }
      trainer.step(std::vector<std::span<float const>>{gradient});
    }
    for (float each : x) error[rank] = std::max(error[rank], std::abs(each));
    digest[rank] = trainer.digest();
    // [cell]
    std::span<float const> const inner = trainer.cell("x", "inner.sum"),
                                 outer = trainer.cell("x", "outer.sum");
    // [/cell]
    if (rank == 0) {
      std::printf("inner.sum of x[0] and x[6]: %.3g and %.3g; outer.sum: %.3g and %.3g\n",
                  static_cast<double>(inner[0]), static_cast<double>(inner[6]), static_cast<double>(outer[0]),
                  static_cast<double>(outer[6]));
    }
  });
  bool const same = digest[0] == digest[1];
  std::printf("largest |x| came from 1 to %.1e; the anchors of both ranks are %s\n",
              static_cast<double>(error[0]), same ? "bitwise equal" : "different");
  return same && error[0] < 1e-3f ? 0 : 1;
}
