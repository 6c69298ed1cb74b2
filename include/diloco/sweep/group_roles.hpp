// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/groups.hpp>
#include <diloco/state/layout.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Gives layout::of the group of `inner` that each tensor belongs to, and that group's needs.
template <class Inner>
struct group_roles {
  Inner const& inner;

  [[nodiscard]] layout::role operator()(tensor const& t) const {
    group_choice choice{0, group_choice::none};
    if constexpr (grouped_optimizer<Inner>) {
      choice = inner.choose(t.name, t.shape);
      if (choice.first == group_choice::none) {
        return {.invalid = say({"diloco: inner: no group wants '", t.name, "' ", shape_text(t.shape),
                                "; widen a rule, or add group{the_rest, …}"})};
      }
      if (choice.second != group_choice::none) {
        return {.invalid =
                    say({"diloco: inner: groups ", choice.first, " and ", choice.second, " both want '",
                         t.name, "' ", shape_text(t.shape), "; narrow one of their rules"})};
      }
    }
    layout::role role{static_cast<std::size_t>(choice.first), false, false, {}};
    for_each_group(inner, [&](auto const& o, auto index) {
      using O = std::remove_cvref_t<decltype(o)>;
      if (index != role.group) return;
      role.frozen = freezing_optimizer<O>;
      role.samples = sampling_optimizer<O>;
      if constexpr (tensor_optimizer<O>) {
        std::string_view const why = shape_error_of<O>(t.shape);
        if (!why.empty()) {
          role.invalid =
              say({"diloco: inner: ", O::name, ": '", t.name, "' ", shape_text(t.shape), " ", why});
        }
      }
    });
    return role;
  }
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
