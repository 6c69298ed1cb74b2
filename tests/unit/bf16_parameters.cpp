// SPDX-License-Identifier: Apache-2.0
// bfloat16 tensors. A float32 copy takes the steps of a float32 tensor, and the caller sees that copy,
// rounded.
#include "support/row_mean.hpp"
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

std::vector<std::size_t> const sizes{300, 4097, 7};

bfloat16 rounded(float x) { return {bf16_from_float(x)}; }

/// The toy model's tensors in bfloat16, and a toy of float32 tensors that start with the same rounded
/// numbers.
struct narrow_model {
  toy::model reference{sizes};
  std::vector<std::vector<bfloat16>> values, slopes;
  std::vector<tensor> parameters;
  narrow_model() {
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      values.emplace_back(sizes[t]);
      slopes.emplace_back(sizes[t]);
      for (std::size_t i = 0; i < sizes[t]; ++i) {
        values[t][i] = rounded(reference[t][i]);
        reference[t][i] = as_float(values[t][i]);
      }
    }
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      parameters.push_back({.name = std::string("t").append(std::to_string(t)),
                            .shape = {sizes[t]},
                            .bf16 = values[t].data()});
    }
  }
  /// Gradients that bfloat16 represents exactly, in both types.
  std::vector<std::vector<float>>& gradients(int rank, long step) {
    auto& wide = reference.gradients(rank, step);
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      for (std::size_t i = 0; i < sizes[t]; ++i) {
        slopes[t][i] = rounded(wide[t][i]);
        wide[t][i] = as_float(slopes[t][i]);
      }
    }
    return wide;
  }
};

auto recipe_of(auto inner) {
  return recipe<>{}
      .with_inner(std::move(inner))
      .with_transport(alone{})
      .with_schedule(every(3))
      .with_clip_norm(2.0f);
}

}  // namespace

TEST_CASE("bf16: the float32 copy takes the trajectory of a float32 tensor, whatever the gradients' kind") {
  for (bool narrow : {false, true}) {
    CAPTURE(narrow);
    narrow_model m;
    DiLoCo wide(recipe_of(adamw{.lr = 0.01f}), m.reference.parameters());
    DiLoCo trainer(recipe_of(adamw{.lr = 0.01f}), m.parameters);
    for (int step = 0; step < 5; ++step) {
      auto& gradients = m.gradients(0, step);
      wide.step(gradients);
      if (narrow)
        trainer.step(m.slopes);
      else
        trainer.step(gradients);
      for (std::size_t t = 0; t < sizes.size(); ++t) {
        std::string const name = std::string("t").append(std::to_string(t));
        auto const copy = trainer.cell(name, "theta");
        REQUIRE(copy.size() == sizes[t]);
        for (std::size_t i = 0; i < sizes[t]; ++i) {
          REQUIRE(copy[i] == m.reference[t][i]);
          REQUIRE(m.values[t][i].bits == rounded(copy[i]).bits);
        }
      }
    }
    CHECK(trainer.rounds() == 1);
    CHECK(trainer.digest() == wide.digest());
    CHECK(trainer.footprint().state_bytes == wide.footprint().state_bytes + 4 * (304 + 4097 + 7));
  }
}

TEST_CASE("bf16: after a round all ranks show the same numbers, those of the anchor") {
  for (rounding how : {rounding::nearest, rounding::stochastic}) {
    auto const all = toy::on_each_rank(2, [&](threads transport) {
      narrow_model m;
      int const rank = transport.rank();
      DiLoCo trainer(recipe<>{}
                         .with_inner(sgd{.lr = 0.1f})
                         .with_compressor(absmax<8>{})
                         .with_transport(std::move(transport))
                         .with_schedule(every(2))
                         .with_bf16_rounding(how, 5),
                     m.parameters);
      std::vector<std::uint16_t> bits;
      for (int step = 0; step < 2; ++step) {
        static_cast<void>(m.gradients(rank, step));
        trainer.step(m.slopes);
      }
      bool near = true;
      for (std::size_t t = 0; t < sizes.size(); ++t) {
        auto const anchor = trainer.cell(std::string("t").append(std::to_string(t)), "anchor");
        for (std::size_t i = 0; i < sizes[t]; ++i) {
          bits.push_back(m.values[t][i].bits);
          float const shown = as_float(m.values[t][i]);
          near = near && std::abs(shown - anchor[i]) <= std::abs(anchor[i]) * 0x1p-7f;
          if (how == rounding::nearest) near = near && bits.back() == rounded(anchor[i]).bits;
        }
      }
      return std::pair{bits, near};
    });
    CHECK(all[0].first == all[1].first);
    CHECK(all[0].second);
  }
}

TEST_CASE(
    "bf16: stochastic rounding is unbiased, draws anew in every step, and never makes Inf of a number") {
  std::size_t const n = 1 << 16;
  std::vector<bfloat16> w(n, rounded(1.0f));
  std::vector<float> g(n, -0.001f);  // 1.001 lies between 1 and 1.0078125
  std::vector<tensor> const parameters{{.name = "w", .shape = {n}, .bf16 = w.data()}};
  DiLoCo trainer(recipe<>{}
                     .with_inner(plain_sgd{.lr = 1})
                     .with_transport(alone{})
                     .with_schedule(manual{})
                     .with_bf16_rounding(rounding::stochastic),
                 parameters);
  trainer.step(std::vector<std::span<float const>>{g});
  double mean = 0;
  for (bfloat16 x : w) mean += double(as_float(x)) / double(n);
  CHECK(mean == doctest::Approx(1.001).epsilon(5 * 0.0027 / 256));  // five standard deviations
  auto const before = w;
  std::vector<float> const still(n, 0.0f);
  trainer.step(std::vector<std::span<float const>>{still});
  std::size_t moved = 0;
  for (std::size_t i = 0; i < n; ++i) moved += w[i].bits != before[i].bits;
  CHECK(moved > n / 8);

  std::vector<float> const huge(n, -3.4e38f);
  trainer.step(std::vector<std::span<float const>>{huge});
  for (bfloat16 x : w) REQUIRE((x.bits & 0x7fffu) < 0x7f80u);
}

TEST_CASE("bf16: a framework that steps by itself is read before each round") {
  narrow_model m;
  DiLoCo trainer(recipe<>{}
                     .with_inner(external{})
                     .with_outer(plain_sgd{.lr = 0.5f})
                     .with_transport(alone{})
                     .with_schedule(manual{}),
                 m.parameters);
  float const before = as_float(m.values[1][5]);
  m.values[1][5] = rounded(before + 1.0f);
  float const moved = as_float(m.values[1][5]);
  trainer.after_step();
  trainer.sync();
  CHECK(trainer.cell("t1", "anchor")[5] == before - 0.5f * (before - moved));
  CHECK(m.values[1][5].bits == rounded(trainer.cell("t1", "anchor")[5]).bits);
}

TEST_CASE(
    "bf16: what the framework steps in flight is mixed, and what it leaves alone keeps what bfloat16 has no "
    "room for") {
  std::vector<bfloat16> w{rounded(1.0f), rounded(2.0f)};
  DiLoCo trainer(recipe<>{}
                     .with_inner(external{})
                     .with_outer(plain_sgd{.lr = 0.25f})
                     .with_transport(alone{})
                     .with_schedule(manual{}),
                 std::vector<tensor>{{.name = "w", .shape = {2}, .bf16 = w.data()}});
  w[0] = rounded(
      1.0078125f);  // one bfloat16 unit more: the anchor moves by a quarter of it, which w cannot represent
  trainer.after_step();
  trainer.sync();
  CHECK(trainer.cell("w", "anchor")[0] == 1.001953125f);
  CHECK(as_float(w[0]) == 1.0f);
  trainer.skip_step(1.0);  // nothing moves, but it counts
  trainer.sync();
  CHECK(trainer.cell("w", "anchor")[0] == 1.001953125f);

  trainer.skip_step(1.0);
  auto flight = trainer.launch();
  w[1] = rounded(5.0f);
  trainer.land(std::move(flight), {.mix = 1});
  CHECK(as_float(w[1]) == 5.0f);
}

TEST_CASE("bf16: groups draw other numbers to round by, and nothing finite is shown as Inf") {
  std::size_t const n = 4096;
  std::vector<bfloat16> a(n, rounded(1.0f)), b(n, rounded(1.0f));
  std::vector<float> const g(n, -0.004f);
  std::vector<tensor> const parameters{{.name = "a", .shape = {n}, .bf16 = a.data()},
                                       {.name = "b", .shape = {n}, .bf16 = b.data()}};
  DiLoCo trainer(
      recipe<>{}
          .with_inner(groups(group{named("a"), plain_sgd{.lr = 1}}, group{named("b"), plain_sgd{.lr = 1}}))
          .with_transport(alone{})
          .with_schedule(manual{})
          .with_bf16_rounding(rounding::stochastic),
      parameters);
  trainer.step(std::vector<std::span<float const>>{g, g});
  std::size_t alike = 0;
  for (std::size_t i = 0; i < n; ++i) alike += a[i].bits == b[i].bits;
  CHECK(alike < n * 6 / 10);
  CHECK(nearest_bf16(3.4e38f).bits == 0x7f7f);
  CHECK(nearest_bf16(-3.4e38f).bits == 0xff7f);
}

TEST_CASE("bf16: an optimizer over whole tensors gets float32, and what it wrote is rounded") {
  std::vector<bfloat16> w(300, rounded(1.0f)), g(300, rounded(0.3f));
  std::vector<float> wide_w(300, 1.0f), wide_g(300, as_float(g[0]));
  std::vector<tensor> const narrow{{.name = "w", .shape = {30, 10}, .bf16 = w.data()}};
  std::vector<tensor> const wide{{"w", {30, 10}, wide_w.data()}};
  DiLoCo a(recipe_of(toy::row_mean{}), narrow), b(recipe_of(toy::row_mean{}), wide);
  for (int step = 0; step < 2; ++step) {
    a.step(std::vector<std::span<bfloat16 const>>{g});
    b.step(std::vector<std::span<float const>>{wide_g});
  }
  CHECK(wide_w[7] < 0.97f);
  for (std::size_t i = 0; i < 300; ++i) {
    REQUIRE(a.cell("w", "theta")[i] == wide_w[i]);
    REQUIRE(w[i].bits == rounded(wide_w[i]).bits);
  }
}

TEST_CASE("bf16: kinds that do not go together are one sentence") {
  toy::model wide(sizes);
  DiLoCo trainer(recipe_of(adamw{}), wide.parameters());
  std::vector<std::vector<bfloat16>> narrow;
  for (std::size_t n : sizes) narrow.emplace_back(n);
  CHECK(toy::sentence(toy::outcome_of(trainer.try_step(narrow))) ==
        "diloco: step: the gradient of 't0' is bfloat16 and the parameter float32; widen it");
  narrow_model m;
  using type = decltype(trainer);
  auto both = m.parameters;
  both[1].data = wide[1].data();
  CHECK(toy::sentence(toy::outcome_of(type::make(recipe_of(adamw{}), both))) ==
        "diloco: parameters: 't1' has both data and bf16; give one");
  auto twice = m.parameters;
  twice[2].bf16 = m.values[1].data() + 4090;
  CHECK(toy::sentence(toy::outcome_of(type::make(recipe_of(adamw{}), twice))).find("overlaps") !=
        std::string::npos);
  m.values[2][3].bits = 0x7f80;
  CHECK(toy::sentence(toy::outcome_of(type::make(recipe_of(adamw{}), m.parameters))) ==
        "diloco: the parameter 't2' holds a value that is not finite");
}

TEST_CASE("bf16: frozen tensors keep no copy, and must still be alike on all ranks") {
  auto const all = toy::on_each_rank(2, [](threads transport) {
    narrow_model m;
    auto const rank = transport.rank();
    if (rank == 1) m.values[2][6].bits ^= 1;
    auto r = recipe<>{}
                 .with_inner(groups(group{named("t2"), frozen{}}, group{the_rest, adamw{}}))
                 .with_transport(std::move(transport))
                 .with_schedule(manual{});
    using type = decltype(DiLoCo(std::move(r), m.parameters));
    return toy::sentence(toy::outcome_of(type::make(std::move(r), m.parameters)));
  });
  CHECK(all[1].find("rank 1 and rank 0 disagree on the initial values of 't2'") != std::string::npos);
}
