// SPDX-License-Identifier: Apache-2.0
// MuLoCo as a whole (Thérien et al. 2025): Muon on hidden matrices, AdamW on the rest, few bits with
// feedback, several workers.
// A group's tensors take the same steps as in their own trainer, anchors stay equal, and the model learns.
#include "support/toy.hpp"

#include <doctest/doctest.h>

#if DILOCO_HAS_EIGEN
#include <diloco/linear_algebra/eigen.hpp>

#include <algorithm>

using namespace diloco;

namespace {

/// y = W₂·W₁·x + b with the gradients of ½‖W₂·W₁ − T‖² + ½‖b − 1‖². Each worker has a different T near a
/// common one.
struct deep_linear {
  static constexpr std::size_t in = 24, hidden = 32, out = 16;
  std::vector<float> w1, w2, b, t, g1, g2, gb;
  std::vector<tensor> parameters;
  explicit deep_linear(int worker)
      : w1(hidden * in), w2(out * hidden), b(out), t(out * in), g1(w1), g2(w2), gb(b) {
    for (std::size_t i = 0; i < w1.size(); ++i) w1[i] = 0.2f * toy::number(1, i);
    for (std::size_t i = 0; i < w2.size(); ++i) w2[i] = 0.2f * toy::number(2, i);
    for (std::size_t i = 0; i < t.size(); ++i)
      t[i] = toy::number(3, i) + 0.1f * toy::number(static_cast<std::uint64_t>(10 + worker), i);
    parameters = {
        {"h.w1", {hidden, in}, w1.data()}, {"h.w2", {out, hidden}, w2.data()}, {"h.b", {out}, b.data()}};
  }
  /// Fills the gradients and returns the loss.
  double loss() {
    std::vector<float> off(out * in);
    double sum = 0;
    for (std::size_t i = 0; i < out; ++i) {
      gb[i] = b[i] - 1.0f;
      sum += 0.5 * double(gb[i]) * double(gb[i]);
      for (std::size_t j = 0; j < in; ++j) {
        float y = -t[i * in + j];
        for (std::size_t k = 0; k < hidden; ++k) y += w2[i * hidden + k] * w1[k * in + j];
        off[i * in + j] = y;
        sum += 0.5 * double(y) * double(y);
      }
    }
    std::fill(g1.begin(), g1.end(), 0.0f);
    std::fill(g2.begin(), g2.end(), 0.0f);
    for (std::size_t i = 0; i < out; ++i)
      for (std::size_t j = 0; j < in; ++j)
        for (std::size_t k = 0; k < hidden; ++k) {
          g1[k * in + j] += w2[i * hidden + k] * off[i * in + j];
          g2[i * hidden + k] += off[i * in + j] * w1[k * in + j];
        }
    return sum;
  }
  std::vector<std::span<float const>> gradients() const { return {g1, g2, gb}; }
};

auto inner() {
  return groups(group{matrices, muon<eigen>{.lr = 0.02f}},
                group{the_rest, adamw{.lr = 0.02f, .weight_decay = 0}});
}
auto recipe_of(auto i) {
  return recipe<>{}.with_inner(std::move(i)).with_transport(alone{}).with_schedule(manual{});
}

}  // namespace

TEST_CASE("muloco: workers that differ fit what they share, at 4 bits, with equal anchors") {
  for (at_sync state : {at_sync::keep, at_sync::average}) {
    struct seen {
      double before = 0, after = 0;
      std::uint64_t digest = 0;
      std::string contract;
      bool same_momentum = false;
      std::vector<float> momentum;
    };
    auto const all = toy::on_each_rank(3, [&](threads transport) {
      deep_linear model(transport.rank());
      DiLoCo trainer(recipe<>{}
                         .with_inner(inner())
                         .with_outer(nesterov{.lr = 0.7f, .momentum = 0.6f})
                         .with_compressor(absmax<4>{})
                         .with_feedback(error_feedback{.decay = 0.95f})
                         .with_transport(std::move(transport))
                         .with_schedule(every(5))
                         .with_rate(warmup_cosine{.warmup = 10, .total = 300})
                         .with_inner_at_sync(state),
                     model.parameters);
      seen s;
      s.before = model.loss();
      for (int step = 0; step < 300; ++step) {
        static_cast<void>(model.loss());
        trainer.step(model.gradients());
      }
      s.after = model.loss();
      s.digest = trainer.digest();
      s.contract = trainer.describe();
      auto const m = trainer.cell("h.w1", "inner.momentum");
      s.momentum.assign(m.begin(), m.end());
      return s;
    });
    for (auto const& s : all) {
      CHECK(s.before > 20);
      // Not lower, because the workers' targets disagree: 384 elements, 0.1·0.58 each, ½Σ = 0.43 of the
      // remaining loss.
      CHECK(s.after < 1.5);
      CHECK(s.digest == all[0].digest);
      CHECK((s.momentum == all[0].momentum) == (state == at_sync::average || &s == &all[0]));
    }
    CHECK(all[0].contract.starts_with("muon+adamw → nesterov · absmax4/256"));
  }
}

TEST_CASE(
    "muloco: a matrix takes the steps that Muon alone gives it, and bfloat16 ones those of their float32 "
    "copies") {
  deep_linear together(0), narrow(0);
  std::vector<bfloat16> w1(narrow.w1.size());
  for (std::size_t i = 0; i < w1.size(); ++i) {
    w1[i].bits = bf16_from_float(narrow.w1[i]);
    together.w1[i] = narrow.w1[i] = as_float(w1[i]);
  }
  narrow.parameters[0].data = nullptr;
  narrow.parameters[0].bf16 = w1.data();
  deep_linear alone_w1(0);
  alone_w1.w1 = together.w1;
  DiLoCo all(recipe_of(inner()), together.parameters);
  DiLoCo with_bf16(recipe_of(inner()), narrow.parameters);
  DiLoCo one(recipe_of(muon<eigen>{.lr = 0.02f}), std::vector<tensor>{alone_w1.parameters[0]});
  static_cast<void>(together.loss());
  for (int step = 0; step < 5; ++step) {
    all.step(together.gradients());
    with_bf16.step(together.gradients());
    one.step(std::vector<std::span<float const>>{together.g1});
  }
  CHECK(together.w1 == alone_w1.w1);
  auto const copy = with_bf16.cell("h.w1", "theta");
  CHECK(std::equal(copy.begin(), copy.end(), together.w1.begin()));
  for (std::size_t i = 0; i < w1.size(); ++i) REQUIRE(w1[i].bits == bf16_from_float(copy[i]));
  CHECK(narrow.w2 == together.w2);
  CHECK(narrow.b == together.b);
}

TEST_CASE("muloco: a vector given to Muon is refused by name, with what to do") {
  deep_linear model(0);
  using type = decltype(DiLoCo(recipe_of(muon<eigen>{}), model.parameters));
  CHECK(toy::sentence(toy::outcome_of(type::make(recipe_of(muon<eigen>{}), model.parameters))) ==
        "diloco: inner: muon: 'h.b' (16) needs a matrix; give vectors another optimizer, such as adamw");
}
#endif
