// SPDX-License-Identifier: Apache-2.0
// The caller's tensors belong to the caller: loaded, moved, many and tiny. A call that would do nothing is
// refused.
#include "support/toy.hpp"

#include <doctest/doctest.h>

using namespace diloco;

namespace {

template <class Result>
std::string said(Result const& r) {
  return toy::sentence(toy::outcome_of(r));
}

/// Two bfloat16 tensors on one rank.
struct narrow_model {
  std::vector<bfloat16> w = std::vector<bfloat16>(5000, nearest_bf16(0.9f)),
                        b = std::vector<bfloat16>(3, nearest_bf16(0.9f));
  std::vector<tensor> parameters() {
    return {{.name = "w", .shape = {5000}, .bf16 = w.data()}, {.name = "b", .shape = {3}, .bf16 = b.data()}};
  }
  std::vector<float> gw = std::vector<float>(5000), gb = std::vector<float>(3);
  std::vector<std::span<float const>> gradients() { return {gw, gb}; }
};

template <class Inner>
void check_loaded(Inner inner, rounding how) {
  CAPTURE(std::string(Inner::name));
  narrow_model m;
  DiLoCo t(
      recipe<>{}.with_inner(inner).with_transport(alone{}).with_schedule(manual{}).with_bf16_rounding(how),
      m.parameters());
  t.step(m.gradients());
  m.w[17] = nearest_bf16(5.0f);  // one element
  for (auto& x : m.b) x = nearest_bf16(-3.0f);
  t.step(m.gradients());  // with gradient 0
  CHECK(as_float(m.w[17]) == doctest::Approx(5.0).epsilon(0.01));
  CHECK(as_float(m.b[2]) == doctest::Approx(-3.0).epsilon(0.01));
  CHECK(as_float(m.w[18]) == doctest::Approx(0.9).epsilon(0.01));
}

}  // namespace

TEST_CASE("caller's memory: what is written to bfloat16 tensors is stepped from") {
  check_loaded(plain_sgd{.lr = 0.1f}, rounding::nearest);
  check_loaded(plain_sgd{.lr = 0.1f}, rounding::stochastic);
  check_loaded(adamw{.lr = 1e-3f, .weight_decay = 0.0f}, rounding::nearest);
  check_loaded(adamw8bit<>{.lr = 1e-3f, .weight_decay = 0.0f}, rounding::nearest);
}

TEST_CASE("caller's memory: digits that bfloat16 has no room for are kept where nobody wrote") {
  for (rounding how : {rounding::nearest, rounding::stochastic}) {
    std::vector<bfloat16> narrow(300, nearest_bf16(1.0f));
    std::vector<float> wide(300, 1.0f), g(300, 0.5e-4f);
    DiLoCo t(recipe<>{}
                 .with_inner(plain_sgd{.lr = 1.0f})
                 .with_transport(alone{})
                 .with_schedule(manual{})
                 .with_bf16_rounding(how),
             std::vector<tensor>{{.name = "w", .shape = {300}, .bf16 = narrow.data()}});
    DiLoCo u(recipe<>{}.with_inner(plain_sgd{.lr = 1.0f}).with_transport(alone{}).with_schedule(manual{}),
             std::vector<tensor>{{"w", {300}, wide.data()}});
    std::vector<std::span<float const>> const gradients{g};
    for (int step = 0; step < 100; ++step) {
      t.step(gradients);
      u.step(gradients);
    }
    int wrong = 0;
    for (std::size_t i = 0; i < 300; ++i) wrong += t.cell("w", "theta")[i] == wide[i] ? 0 : 1;
    CHECK(wrong == 0);
  }
}

TEST_CASE("caller's memory: bfloat16 weights loaded before a round are in it, and mixed landings see them") {
  narrow_model m;
  DiLoCo t(recipe<>{}
               .with_inner(plain_sgd{.lr = 0.1f})
               .with_outer(plain_sgd{.lr = 1.0f})
               .with_transport(alone{})
               .with_schedule(manual{}),
           m.parameters());
  t.step(m.gradients());
  m.w[17] = nearest_bf16(5.0f);
  t.sync();
  CHECK(t.cell("w", "anchor")[17] == 5.0f);
  t.step(m.gradients());
  auto f = t.launch();
  m.w[17] = nearest_bf16(7.0f);
  t.land(std::move(f), {.mix = 0.5f});
  CHECK(as_float(m.w[17]) == 6.0f);
}

TEST_CASE("caller's memory: adopt takes loaded weights for the start, on all ranks or on none") {
  auto const heard = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({5, 300});
    toy::trainer_of<adamw, nesterov, absmax<8>, threads> t(
        {.exchange = {}, .transport = std::move(transport), .schedule = every(100)}, m.parameters());
    t.step(m.gradients(rank, 0));
    for (auto& x : m[1]) x = 2.0f;
    for (auto& x : m[0]) x = 3.0f;
    t.adopt();
    std::vector<std::string> all{
        t.cell("t1", "anchor")[299] == 2.0f && t.cell("t0", "anchor")[0] == 3.0f ? "taken" : "not taken"};
    if (rank == 1) m[1][7] = 2.5f;
    all.push_back(said(t.try_adopt()));
    all.push_back(t.cell("t1", "anchor")[7] == 2.0f ? "kept" : "not kept");
    m[1][7] = 2.0f;
    auto f = t.launch();
    all.push_back(said(t.try_adopt()));
    t.land(std::move(f));
    return all;
  });
  for (auto const& all : heard) {
    CHECK(all[0] == "taken");
    CHECK(all[1].find("disagree on the values of 't1'") != std::string::npos);
    CHECK(all[2] == "kept");
    CHECK(all[3] == "diloco: adopt: round 0 is under way; land it first");
  }
}

TEST_CASE("caller's memory: tensors that moved are named, and bound again") {
  toy::model m({5, 300});
  std::vector<float> elsewhere(300, 1.0f);
  DiLoCo t(recipe<>{}.with_inner(external{}).with_transport(alone{}).with_schedule(every(2)), m.parameters());
  t.after_step(m.parameters());
  std::vector<tensor> moved = m.parameters();
  moved[1].data = elsewhere.data();
  CHECK(said(t.try_after_step(moved)) ==
        "diloco: after_step: 't1' has moved since the trainer last saw it; call rebind(parameters)");
  CHECK(t.steps() == 1);
  t.rebind(moved);
  elsewhere[299] = -4.0f;
  t.after_step(moved);  // and the round that is due
  CHECK(t.cell("t1", "theta").data() == elsewhere.data());
  CHECK(t.cell("t1", "anchor")[299] == doctest::Approx(elsewhere[299]));

  CHECK(said(t.try_rebind(std::vector<tensor>{moved[0]})) ==
        "diloco: rebind: there are 1 tensors, and the constructor was given 2");
  std::vector<tensor> other = moved;
  other[0].name = "t7";
  CHECK(said(t.try_rebind(other)) == "diloco: rebind: tensor 0 is 't7', and the constructor was given 't0'");
  other = moved;
  other[1].shape = {20, 15};
  CHECK(said(t.try_rebind(other)) ==
        "diloco: rebind: 't1' has the shape (20, 15), and the constructor was given (300)");
  other = moved;
  other[0].data = elsewhere.data() + 297;
  CHECK(said(t.try_rebind(other)).find("overlaps") != std::string::npos);
  CHECK(t.cell("t0", "theta").data() == m[0].data());  // the old addresses are still in use
}

TEST_CASE("caller's memory: an external run whose tensors never change is heard, on every rank") {
  auto const heard = toy::on_each_rank(2, [&](threads transport) {
    int const rank = transport.rank();
    toy::model m({40, 5000});
    DiLoCo t(recipe<>{}
                 .with_inner(external{})
                 .with_outer(plain_sgd{.lr = 1.0f})
                 .with_transport(std::move(transport))
                 .with_schedule(manual{}),
             m.parameters());
    std::vector<std::string> all;
    t.after_step();
    if (rank == 0) m[1][4999] += 1.0f;
    all.push_back(said(t.try_sync()));
    m[0][0] += 1.0f;  // the moved tensor continues training
    t.after_step();
    all.push_back(said(t.try_sync()));
    t.skip_step(1.0);
    all.push_back(said(t.try_sync()));  // no rank claims to have moved
    return all;
  });
  for (auto const& all : heard) {
    CHECK(all[0] ==
          "diloco: round 0: rank 1 counted steps, and no element of its tensors differs from the anchor; if "
          "its "
          "framework "
          "steps other memory than the trainer was given, call rebind(parameters); a step that changes "
          "nothing is "
          "skip_step(); the round is dropped");
    CHECK(all[1] == "no error");
    CHECK(all[2] == "no error");
  }
}

TEST_CASE("caller's memory: a cell that is not there is an error with the names that are") {
  toy::model m({5});
  DiLoCo t(recipe<>{}.with_compressor(absmax<4>{}).with_transport(alone{}).with_schedule(manual{}),
           m.parameters());
  CHECK(said(t.try_cell("t0", "inner.exp_avg")) ==
        "diloco: cell: 't0' has no column 'inner.exp_avg' of floats; it has theta, anchor, residual, "
        "outer.momentum, inner.m, inner.v");
  CHECK(said(t.try_cell("w", "theta")) == "diloco: cell: there is no tensor 'w'");
  CHECK_THROWS_AS(static_cast<void>(t.cell("t0", "anchr")), exception);
}

namespace {
/// Anchors and moments of every tensor after six steps and two rounds.
template <class Compressor, class Inner>
std::vector<std::vector<std::uint32_t>> train(std::vector<std::size_t> const& sizes, std::size_t first,
                                              double* bytes = nullptr) {
  std::vector<std::vector<float>> values;
  std::vector<tensor> parameters;
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    values.emplace_back(sizes[t]);
    for (std::size_t i = 0; i < sizes[t]; ++i) values[t][i] = toy::number(first + t, i);
  }
  for (std::size_t t = 0; t < sizes.size(); ++t)
    parameters.push_back({std::string("t") + std::to_string(first + t), {sizes[t]}, values[t].data()});
  DiLoCo trainer(recipe<>{}
                     .with_inner(Inner{})
                     .with_compressor(Compressor{})
                     .with_transport(alone{})
                     .with_schedule(every(3)),
                 parameters);
  std::vector<std::vector<float>> gradients(values);
  for (int step = 0; step < 6; ++step) {
    for (std::size_t t = 0; t < sizes.size(); ++t) {
      for (std::size_t i = 0; i < sizes[t]; ++i)
        gradients[t][i] = toy::number(77 + 100 * static_cast<std::size_t>(step) + first + t, i);
    }
    trainer.step(gradients);
  }
  if (bytes != nullptr) *bytes = static_cast<double>(trainer.footprint().state_bytes);
  std::vector<std::vector<std::uint32_t>> all;
  for (tensor const& each : parameters) {
    all.emplace_back();
    for (char const* column : {"theta", "anchor", "residual", "outer.momentum", "inner.m", "inner.v"}) {
      if (auto const cell = trainer.try_cell(each.name, column)) {
        for (float x : *cell) all.back().push_back(bits_of(x));
      }
    }
  }
  return all;
}

template <class Compressor>
void check_alike() {
  CAPTURE(std::string(Compressor::name));
  std::vector<std::size_t> const sizes{1, 8, 3, 15, 16, 17, 1, 63, 64, 5, 129, 255, 256, 257, 2, 4097, 7};
  auto const together = train<Compressor, adamw>(sizes, 0);
  for (std::size_t t = 0; t < sizes.size(); ++t) {
    CAPTURE(sizes[t]);
    CHECK(together[t] == train<Compressor, adamw>({sizes[t]}, t)[0]);
  }
}
}  // namespace

TEST_CASE("caller's memory: short tensors side by side give the bits that each gives alone") {
  check_alike<absmax<4>>();
  check_alike<e2m1<>>();
  check_alike<top_k<64>>();
  check_alike<dct_top_k<256>>();
  check_alike<statistical<16>>();
}

TEST_CASE("caller's memory: many tiny tensors cost what one large one costs, and 64 B each") {
  for (std::size_t size : {2u, 3u, 8u, 15u, 17u, 30u, 100u, 257u, 300u}) {
    CAPTURE(size);
    double bytes = 0;
    train<absmax<4>, adamw>(std::vector<std::size_t>(500, size), 0, &bytes);
    CHECK(bytes <= 500.0 * (26.0 * static_cast<double>(size) + 64.0));
  }
}
