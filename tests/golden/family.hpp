// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "fixture.hpp"

#include <diloco/diloco.hpp>

#include <array>
#include <string>
#include <variant>
#include <vector>

namespace golden {

/// One of several optimizers, picked at run time: a trainer for each of them costs seconds of compile time. The
/// arithmetic is the picked one's own.
template <class... O>
struct one_of {
  std::variant<O...> is;

  static constexpr std::string_view name = "one_of";
  static constexpr std::array<std::string_view, 2> slots{"first", "second"};

  struct step {
    std::variant<decltype(std::declval<O const&>().at(diloco::step_context{}))...> is;
    void operator()(float& p, float g, float& first, float& second) const {
      std::visit(
          [&](auto const& s) {
            if constexpr (requires { s(p, g); })
              s(p, g);
            else if constexpr (requires { s(p, g, first); })
              s(p, g, first);
            else
              s(p, g, first, second);
          },
          is);
    }
  };
  [[nodiscard]] step at(diloco::step_context c) const {
    return std::visit([&](auto const& o) { return step{o.at(c)}; }, is);
  }
  /// The picked one's slots: the first lies in the column "first".
  [[nodiscard]] std::vector<std::string_view> picked_slots() const {
    return std::visit([](auto const& o) { return std::vector<std::string_view>(o.slots.begin(), o.slots.end()); }, is);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    std::visit([&](auto const& o) { o.fields(f); }, is);
  }
};

using outer_optimizer =
    one_of<diloco::sign_sgd, diloco::heavy_ball, diloco::fedadam, diloco::fedyogi, diloco::fedadagrad, diloco::slowmo,
           diloco::bmuf, diloco::lookahead, diloco::delayed_nesterov>;

struct named_optimizer {
  std::string name;
  outer_optimizer optimizer;
};

/// The outer optimizers of by_hand.py. The hyper-parameter h of an optimizer N stands in the fixture as N.`where`h.
inline std::vector<named_optimizer> outer_optimizers(fixture const& f, std::string const& where) {
  using namespace diloco;
  auto const h = [&](char const* of, char const* name) { return f.number(std::string(of) + "." + where + name); };
  auto const bmuf_of = [&](char const* n) {
    return bmuf{.block_lr = h(n, "block_lr"), .momentum = h(n, "momentum"), .nesterov = h(n, "nesterov") != 0};
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

template <class... O>
inline constexpr bool diloco::enable_replicated<golden::one_of<O...>> = (diloco::replicated<O> && ...);
