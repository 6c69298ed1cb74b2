// SPDX-License-Identifier: Apache-2.0
// What a training loop needs besides the step. Tensors: groups with their own rules and numbers, frozen ones,
// and bfloat16 parameters with a loss scale. Steps: a learning-rate schedule, and clipping by the global norm.
#include <diloco/diloco.hpp>

#include <cstdio>

using diloco::bfloat16;

int main() {
  // A toy layer in bfloat16: y = w·x + b on a frozen embedding. Training fits it to the numbers 2 and 0.5.
  constexpr std::size_t rows = 16, columns = 64;
  std::vector<bfloat16> wte(256, {diloco::bf16_from_float(0.5f)}), w(rows * columns), b(rows);
  std::vector<diloco::tensor> parameters{{.name = "wte", .shape = {256}, .bf16 = wte.data()},
                                         {.name = "h.0.w", .shape = {rows, columns}, .bf16 = w.data()},
                                         {.name = "h.0.ln.b", .shape = {rows}, .bf16 = b.data()}};
  // [groups]
  auto inner = diloco::groups(diloco::group{diloco::named("wte"), diloco::frozen{}},
                              diloco::group{diloco::matrices && !diloco::named("*ln*"),
                                            diloco::lion{.lr = 0.02f, .weight_decay = 0.001f}},
                              diloco::group{diloco::the_rest, diloco::adamw{.lr = 0.02f, .weight_decay = 0}});
  // [/groups]

  // [helpers]
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(inner)
                             .with_outer(diloco::lookahead{.alpha = 0.8f})
                             .with_rate(diloco::warmup_cosine{.warmup = 20, .total = 400, .last = 0.01f})
                             .with_clip_norm(1.0f)
                             .with_bf16_rounding(diloco::rounding::stochastic)
                             .with_transport(diloco::alone{})
                             .with_schedule(diloco::every(50)),
                         parameters);
  diloco::loss_scale scale{.scale = 1024};
  // [/helpers]
  std::printf("%s\n", trainer.describe().c_str());

  std::vector<float> slope_w(w.size()), slope_b(b.size());
  for (int step = 0; step < 400; ++step) {
    for (std::size_t i = 0; i < w.size(); ++i) slope_w[i] = scale.scale * (diloco::as_float(w[i]) - 2.0f);
    for (std::size_t i = 0; i < b.size(); ++i) slope_b[i] = scale.scale * (diloco::as_float(b[i]) - 0.5f);
    if (step == 100) slope_w[0] = HUGE_VALF;  // a loss scale that was too large
    std::vector<std::span<float const>> const gradients{{}, slope_w, slope_b};
    // [step]
    trainer.step(gradients, {.grad_scale = scale.grad_scale(), .skip_not_finite = true});
    scale.update(trainer.skipped());
    // [/step]
    if (step % 100 == 0)
      std::printf("step %3d  rate x %.2f  gradient norm %6.2f  loss scale %g%s\n", step,
                  static_cast<double>(trainer.rate_factor()), static_cast<double>(trainer.gradient_norm()),
                  static_cast<double>(scale.scale), trainer.skipped() ? "  (skipped)" : "");
  }
  float const end_w = trainer.cell("h.0.w", "theta")[7], end_b = trainer.cell("h.0.ln.b", "theta")[7];
  std::printf("w %.3f  b %.3f  wte %.3f\n", static_cast<double>(end_w), static_cast<double>(end_b),
              static_cast<double>(diloco::as_float(wte[7])));
  bool const fine = std::abs(end_w - 2.0f) < 0.1f && std::abs(end_b - 0.5f) < 0.1f && scale.scale == 512 &&
                    diloco::as_float(wte[7]) == 0.5f && trainer.rounds() == 8;
  return fine ? 0 : 1;
}
