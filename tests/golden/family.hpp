// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fixture.hpp"
#include "support/one_of.hpp"

#include <diloco/diloco.hpp>

#include <string>
#include <vector>

namespace golden {

using outer_optimizer = support::one_of<diloco::sign_sgd, diloco::heavy_ball, diloco::fedadam,
                                        diloco::fedyogi, diloco::fedadagrad, diloco::slowmo, diloco::bmuf,
                                        diloco::lookahead, diloco::delayed_nesterov>;

struct named_optimizer {
  std::string name;
  outer_optimizer optimizer;
};

/// The outer optimizers of by_hand.py. The fixture stores hyper-parameter h of optimizer N as N.`where`h.
inline std::vector<named_optimizer> outer_optimizers(fixture const& f, std::string const& where) {
  using namespace diloco;
  auto const h = [&](char const* of, char const* name) {
    return f.number(std::string(of) + "." + where + name);
  };
  auto const bmuf_of = [&](char const* n) {
    return bmuf{
        .block_lr = h(n, "block_lr"), .momentum = h(n, "momentum"), .nesterov = h(n, "nesterov") != 0};
  };
  constexpr auto a = "fedadam", y = "fedyogi", g = "fedadagrad", s = "slowmo", d = "delayed_nesterov";
  return {
      {"sign_sgd", {sign_sgd{.lr = h("sign_sgd", "lr")}}},
      {"heavy_ball", {heavy_ball{.lr = h("heavy_ball", "lr"), .momentum = h("heavy_ball", "momentum")}}},
      {a, {fedadam{.lr = h(a, "lr"), .beta1 = h(a, "beta1"), .beta2 = h(a, "beta2"), .tau = h(a, "tau")}}},
      {y, {fedyogi{.lr = h(y, "lr"), .beta1 = h(y, "beta1"), .beta2 = h(y, "beta2"), .tau = h(y, "tau")}}},
      {g, {fedadagrad{.lr = h(g, "lr"), .beta1 = h(g, "beta1"), .tau = h(g, "tau")}}},
      {s, {slowmo{.lr = h(s, "lr"), .momentum = h(s, "momentum"), .inner_lr = h(s, "inner_lr")}}},
      {"bmuf", {bmuf_of("bmuf")}},
      {"bmuf_nesterov", {bmuf_of("bmuf_nesterov")}},
      {"lookahead", {lookahead{.alpha = h("lookahead", "alpha")}}},
      {d,
       {delayed_nesterov{.lr = h(d, "lr"),
                         .momentum = h(d, "momentum"),
                         .period = static_cast<int>(h(d, "period")),
                         .activation = h(d, "activation")}}},
  };
}

}  // namespace golden
