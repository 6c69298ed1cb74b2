// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>
#include <diloco/core/hash.hpp>
#include <diloco/core/text.hpp>

#include <bit>
#include <cmath>
#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// The values that a hyper-parameter may take: [low, high], or [low, high) / (low, high] where an end is
/// open. It never contains NaN.
struct range {
  double low, high;
  bool low_open = false, high_open = false;
  [[nodiscard]] constexpr bool holds(double x) const {
    return (low_open ? x > low : x >= low) && (high_open ? x < high : x <= high);
  }
};
inline constexpr double unbounded = 3.4028234663852886e38;  // the largest float: finite, not Inf
inline constexpr range non_negative{0, unbounded};
inline constexpr range positive{0, unbounded, true};
inline constexpr range below_one{0, 1, false, true};
inline constexpr range zero_to_one{0, 1};

namespace detail {
struct field_visitor {
  template <class T>
  constexpr void operator()(std::string_view, T, range) const {}
};
}  // namespace detail

/// A policy that lists its numbers: `template <class F> constexpr void fields(F&& f) const { f("lr", lr,
/// non_negative); }`. This one list gives the check of the ranges, the printed form and the fingerprint that
/// ranks compare.
template <class P>
concept has_fields = requires(P const& p, detail::field_visitor each) {
  p.fields(each);
};  // in nvcc a lambda here never satisfies the concept

/// The text of a range: "must be a number not below 0", "must be in [0, 1)".
std::string range_text(range r);

/// A policy whose numbers depend on each other. `validation_error()` returns what is wrong and its remedy, or
/// an empty text.
template <class P>
concept has_validation_error = requires(P const& p) {
  { p.validation_error() } -> std::convertible_to<std::string_view>;
};

namespace detail {
/// A field's value as a number that prints and hashes exactly. An enumeration becomes its integer.
template <class T>
constexpr auto plain_number(T value) {
  if constexpr (std::is_enum_v<T>)
    return static_cast<std::underlying_type_t<T>>(value);
  else if constexpr (std::is_arithmetic_v<T>)
    return value;
  else
    return static_cast<double>(value);
}
template <class T>
constexpr std::uint64_t number_bits(T value) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<std::uint64_t>(value);
  else
    return std::bit_cast<std::uint64_t>(static_cast<double>(value));
}
}  // namespace detail

namespace detail {
/// A policy without `fields` is compared by its bytes, so it may have no floats and no padding.
template <class P>
struct numbers_are_listed {
  static_assert(
      has_fields<P> || std::is_empty_v<P> || std::has_unique_object_representations_v<P>,
      "diloco: a policy with numbers must list them, so that ranks can be compared; add template <class F> "
      "constexpr void fields(F&& f) const { f(\"lr\", lr, diloco::non_negative); }");
};
}  // namespace detail

namespace detail {
/// Passes the numbers of a policy within another on, under the name of that member.
template <class F>
struct member_visitor {
  std::string_view member;
  F& to;
  template <class T>
  void operator()(std::string_view field, T value, range allowed) const {
    to(say({member, ".", field}), value, allowed);
  }
};
}  // namespace detail

/// For the `fields` of a policy that holds another: lists the numbers of `policy` as `member.lr` and so on.
template <class P, class F>
constexpr void fields_of_member(std::string_view member, P const& policy, F& f) {
  static_assert(
      has_fields<P> || std::is_empty_v<P>,
      "diloco: a policy within another must list its numbers, so that ranks can be compared; add "
      "template <class F> constexpr void fields(F&& f) const { f(\"lr\", lr, diloco::non_negative); }");
  if constexpr (has_fields<P>) policy.fields(detail::member_visitor<F>{member, f});
}

/// For the `validation_error` of a policy that holds others: the first of theirs that is not empty.
template <class... P>
[[nodiscard]] std::string error_of_members(P const&... policies) {
  std::string found;
  auto const ask = [&](auto const& policy) {
    if constexpr (has_validation_error<std::remove_cvref_t<decltype(policy)>>) {
      if (found.empty()) found = std::string_view(policy.validation_error());
    }
  };
  (ask(policies), ...);
  return found;
}

/// One number of a policy.
struct listed_field {
  std::string name;
  piece text;          ///< names the value exactly
  double value;        ///< to compare with `allowed`
  std::uint64_t bits;  ///< to hash
  range allowed;
};

/// A policy without its type: its name and its numbers. Text about policies is made of this, so that it is
/// compiled once and not for each policy.
struct listed_policy {
  std::string name;
  std::vector<listed_field> fields;
  std::span<std::byte const> bytes;  ///< of a policy that lists no fields; valid as long as the policy
  std::string validation_error;      ///< of numbers that depend on each other, or empty

  /// The visitor of `fields`.
  template <class T>
  void operator()(std::string_view field, T value, range allowed) {
    auto const number = detail::plain_number(value);
    fields.push_back({std::string(field), piece(number), static_cast<double>(value),
                      detail::number_bits(number), allowed});
  }
};

/// A policy's name and numbers. A policy without `fields` is borrowed for its bytes.
template <class P>
DILOCO_COLD listed_policy list_policy(P const& policy) {
  static_cast<void>(detail::numbers_are_listed<P>{});
  listed_policy listed{std::string(std::string_view(P::name)), {}, {}, {}};
  if constexpr (has_fields<P>)
    policy.fields(listed);
  else if constexpr (!std::is_empty_v<P>)
    listed.bytes = std::as_bytes(std::span(&policy, 1));
  if constexpr (has_validation_error<P>)
    listed.validation_error = std::string_view(policy.validation_error());
  return listed;
}

/// The validation error of a policy, or an empty string. It names the first field outside its range, or else
/// fields that do not fit together.
std::string field_error(std::string_view role, listed_policy const& policy);
template <class P>
std::string field_error(std::string_view role, P const& policy) {
  return field_error(role, list_policy(policy));
}

/// A policy's numbers as text: `lr=0.7 momentum=0.9`. Different values print differently.
std::string field_text(listed_policy const& policy);
template <class P>
std::string field_text(P const& policy) {
  return field_text(list_policy(policy));
}

/// Fingerprint of a policy's name and numbers.
std::uint64_t fingerprint(listed_policy const& policy);
template <class P>
std::uint64_t fingerprint(P const& policy) {
  return fingerprint(list_policy(policy));
}

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco

#if DILOCO_HEADER_ONLY
#include <diloco/core/field_definitions.hpp>
#endif
