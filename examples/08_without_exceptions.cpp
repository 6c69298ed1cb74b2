// SPDX-License-Identifier: Apache-2.0
// Errors as values: `make` instead of the constructor and `try_…` instead of each call. Nothing here throws,
// so it also compiles with -fno-exceptions. After an error nothing is half-applied, and after most errors
// training can continue.
#include <diloco/diloco.hpp>

#include <cmath>
#include <cstdio>

// [type]
using Trainer = diloco::DiLoCo<diloco::plain_sgd, diloco::nesterov, diloco::f16, diloco::alone>;
// [/type]

int main() {
  std::vector<float> x(8, 1.0f), gradient(8, 0.5f);
  std::vector<diloco::tensor> const parameters{{"x", {8}, x.data()}};
  std::vector<std::span<float const>> const gradients{gradient};

  // An invalid recipe: rounds would never happen.
  auto const refused = Trainer::make({.schedule = diloco::every(0)}, parameters);
  if (refused) return 1;
  std::printf("%s\n", refused.error().message.c_str());

  // [make]
  auto made = Trainer::make({.inner = {.lr = 0.1f}, .schedule = diloco::every(2)}, parameters);
  if (!made) {
    std::fprintf(stderr, "%s\n", made.error().message.c_str());
    return 1;
  }
  Trainer trainer = std::move(*made);
  // [/make]

  gradient[3] = std::nanf("");
  // [step]
  auto const step = trainer.try_step(gradients);
  if (!step && step.error().what == diloco::cause::not_finite) {
    std::printf("%s\n", step.error().message.c_str());  // x and all state are unchanged
    if (!trainer.try_skip_step()) return 1;  // leaves the batch out, but counts it, as other workers do
  }
  // [/step]
  bool const untouched =
      !step && trainer.steps() == 1 && x[0] == 1.0f && trainer.cell("x", "anchor")[0] == 1.0f;

  gradient[3] = 0.5f;
  bool const went_on = trainer.try_step(gradients) && trainer.rounds() == 1;
  std::printf("%s\n",
              untouched && went_on ? "nothing was half-applied, and training went on" : "something is wrong");
  return untouched && went_on ? 0 : 1;
}
