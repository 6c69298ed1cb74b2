// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/optimizer.hpp>

#include <array>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace support {

namespace detail {
/// One step of each kind. `which` selects the one to take, because std::visit does not work on devices.
template <class... Steps>
struct steps {
  DILOCO_HD void take(int, float&, float, float&, float&) const {}
};
template <class First, class... Rest>
struct steps<First, Rest...> {
  First first;
  steps<Rest...> rest;

  DILOCO_HD void take(int which, float& p, float g, float& one, float& two) const {
    if (which != 0)
      rest.take(which - 1, p, g, one, two);
    else if constexpr (requires { first(p, g); })
      first(p, g);
    else if constexpr (requires { first(p, g, one); })
      first(p, g, one);
    else
      first(p, g, one, two);
  }
  template <std::size_t I>
  auto& get() {
    if constexpr (I == 0)
      return first;
    else
      return rest.template get<I - 1>();
  }
};
}  // namespace detail

/// One of several optimizers, chosen at run time. A trainer for each of them would cost seconds of compile
/// time. The arithmetic is that of the chosen one.
template <class... O>
struct one_of {
  std::variant<O...> is;

  static constexpr std::string_view name = "one_of";
  static constexpr std::array<std::string_view, 2> slots{"first", "second"};
  static constexpr diloco::optimizer_traits traits{.replicated = (diloco::replicated<O> && ...)};

  struct step {
    int which;
    detail::steps<decltype(std::declval<O const&>().at(diloco::step_context{}))...> all;
    DILOCO_HD void operator()(float& p, float g, float& first, float& second) const {
      all.take(which, p, g, first, second);
    }
  };
  [[nodiscard]] step at(diloco::step_context c) const {
    step s{static_cast<int>(is.index()), {}};
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      ((I == is.index() ? void(s.all.template get<I>() = std::get<I>(is).at(c)) : void()), ...);
    }
    (std::index_sequence_for<O...>{});
    return s;
  }
  /// The chosen optimizer's slots. The first one is the column "first".
  [[nodiscard]] std::vector<std::string_view> picked_slots() const {
    return std::visit(
        [](auto const& o) { return std::vector<std::string_view>(o.slots.begin(), o.slots.end()); }, is);
  }

  [[nodiscard]] constexpr float largest() const {
    return std::visit([](auto const& o) { return o.largest(); }, is);
  }

  template <class F>
  constexpr void fields(F&& f) const {
    std::visit([&](auto const& o) { o.fields(f); }, is);
  }
  friend bool operator==(one_of const&, one_of const&) = default;
};

}  // namespace support
