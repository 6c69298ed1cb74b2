// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/groups.hpp>
#include <diloco/core/field.hpp>

#include <tuple>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Selects tensors: any callable `bool(std::string_view name, std::span<std::size_t const> shape) const`. The
/// rules below compose with `&&`, `||` and `!`. A lambda without captures also works.
template <class R>
concept tensor_rule = std::copyable<R> &&
    requires(R const& r, std::string_view name, std::span<std::size_t const> s) {
  { r(name, s) } -> std::convertible_to<bool>;
};

/// Selects by name: `*` matches any run of characters, `?` exactly one. The pattern must outlive the recipe;
/// a literal does.
struct named {
  std::string_view pattern;
  constexpr explicit named(std::string_view p) : pattern(p) {}
  [[nodiscard]] constexpr bool operator()(std::string_view name, std::span<std::size_t const>) const {
    // Only the last star is remembered: it can match whatever an earlier star could.
    std::size_t n = 0, p = 0, star = std::string_view::npos, resume = 0;
    while (n < name.size()) {
      if (p < pattern.size() && pattern[p] == '*') {
        star = p++;
        resume = n;
      } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
        ++p, ++n;
      } else if (star != std::string_view::npos) {
        p = star + 1;
        n = ++resume;
      } else {
        return false;
      }
    }
    while (p < pattern.size() && pattern[p] == '*') ++p;
    return p == pattern.size();
  }
};

/// Selects by the number of extents. Vectors have one (scalars none), matrices have two.
struct dimensions {
  std::size_t least, most;
  [[nodiscard]] constexpr bool operator()(std::string_view, std::span<std::size_t const> shape) const {
    return shape.size() >= least && shape.size() <= most;
  }
};
inline constexpr dimensions vectors{0, 1};
inline constexpr dimensions matrices{2, 2};

/// Selects the tensors that no other group selects.
struct the_rest_rule {
  [[nodiscard]] constexpr bool operator()(std::string_view, std::span<std::size_t const>) const {
    return true;
  }
};
inline constexpr the_rest_rule the_rest{};

// These are structures and not lambdas. A closure that captures cannot be assigned, and a policy is a regular
// value.
template <tensor_rule A, tensor_rule B>
struct both_rules {
  A a;
  B b;
  [[nodiscard]] constexpr bool operator()(std::string_view name, std::span<std::size_t const> shape) const {
    return a(name, shape) && b(name, shape);
  }
};
template <tensor_rule A, tensor_rule B>
struct either_rule {
  A a;
  B b;
  [[nodiscard]] constexpr bool operator()(std::string_view name, std::span<std::size_t const> shape) const {
    return a(name, shape) || b(name, shape);
  }
};
template <tensor_rule A>
struct no_rule {
  A a;
  [[nodiscard]] constexpr bool operator()(std::string_view name, std::span<std::size_t const> shape) const {
    return !a(name, shape);
  }
};
template <tensor_rule A, tensor_rule B>
constexpr both_rules<A, B> operator&&(A a, B b) {
  return {a, b};
}
template <tensor_rule A, tensor_rule B>
constexpr either_rule<A, B> operator||(A a, B b) {
  return {a, b};
}
template <tensor_rule A>
constexpr no_rule<A> operator!(A a) {
  return {a};
}

/// Not trained: θ stays, gradients are not read (an empty span is enough), and no round exchanges these
/// tensors.
struct frozen {
  static constexpr std::string_view name = "frozen";
  static constexpr bool freezes = true;
  static constexpr std::array<std::string_view, 0> slots{};
  friend bool operator==(frozen const&, frozen const&) = default;
};

template <tensor_rule Rule, optimizer Optimizer>
struct group {
  Rule rule;
  Optimizer optimizer;
};
template <class Rule, class Optimizer>
group(Rule, Optimizer) -> group<Rule, Optimizer>;

namespace detail {
template <class Names>
constexpr auto joined(Names const& names) {
  fixed_text<160> text;
  for (std::string_view n : names) {
    if (text.length != 0) text += std::string_view("+");
    text += n;
  }
  return text;
}
}  // namespace detail

/// Parameter groups, for the inner role. The one group whose rule a tensor meets steps it, with that group's
/// numbers. State columns cover the group's tensors only. A tensor that meets no rule or two rules, and a
/// group without tensors, are errors at construction. Each group takes one sweep.
/// For example MuLoCo:
///   groups(group{matrices && named("h.*"), muon<eigen>{}}, group{named("*ln*"), adamw{.weight_decay = 0}},
///          group{the_rest, adamw{}})
template <class... Group>
class groups {
  static_assert(sizeof...(Group) > 0, "diloco: groups: there is none");
  static constexpr std::size_t rests =
      (std::size_t{0} + ... + std::is_same_v<decltype(Group::rule), the_rest_rule>);
  static_assert(rests <= 1, "diloco: groups: the_rest is said twice");

 public:
  constexpr explicit groups(Group... g) : all_(std::move(g)...) {}

  static constexpr auto label =
      detail::joined(std::array{std::string_view(decltype(Group::optimizer)::name)...});
  static constexpr std::string_view name = label.view();
  static constexpr std::size_t group_count = sizeof...(Group);

  template <std::size_t Index>
  [[nodiscard]] constexpr auto const& optimizer_of() const {
    return std::get<Index>(all_).optimizer;
  }
  [[nodiscard]] constexpr group_choice choose(std::string_view tensor,
                                              std::span<std::size_t const> shape) const {
    group_choice c;
    int rest = group_choice::none;
    int index = 0;
    auto const ask = [&](auto const& g) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(g.rule)>, the_rest_rule>) {
        rest = index;
      } else if (g.rule(tensor, shape)) {
        if (c.first == group_choice::none)
          c.first = index;
        else if (c.second == group_choice::none)
          c.second = index;
      }
      ++index;
    };
    std::apply([&](auto const&... g) { (ask(g), ...); }, all_);
    if (c.first == group_choice::none) c.first = rest;
    return c;
  }

  template <class F>
  void fields(F&& f) const {
    for_each_group(*this, [&](auto const& o, auto index) {
      using O = std::remove_cvref_t<decltype(o)>;
      static_assert(has_fields<O> || std::is_empty_v<O>,
                    "diloco: groups: an optimizer with numbers must list them, so that ranges and ranks can "
                    "be checked; "
                    "add template <class F> constexpr void fields(F&& f) const { f(\"lr\", lr, "
                    "diloco::non_negative); }");
      if constexpr (has_fields<O>) {
        o.fields([&](std::string_view field, auto value, range allowed) {
          f(say({o.name, "[", std::size_t{index}, "].", field}), value, allowed);
        });
      }
    });
  }
  [[nodiscard]] std::string validation_error() const {
    std::string found;
    for_each_group(*this, [&](auto const& o, auto index) {
      if constexpr (has_validation_error<std::remove_cvref_t<decltype(o)>>) {
        std::string_view const of_one = o.validation_error();
        if (found.empty() && !of_one.empty()) found = say({o.name, "[", std::size_t{index}, "]: ", of_one});
      }
    });
    return found;
  }

 private:
  std::tuple<Group...> all_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
