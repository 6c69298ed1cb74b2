// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/float_formats.hpp>

#include <iterator>
#include <span>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

template <class R>
concept sized_list = requires(R const& r) {
  std::begin(r);
  std::end(r);
  std::size(r);
};
template <sized_list R>
using element_of = decltype(*std::begin(std::declval<R const&>()));

template <class E>
inline constexpr bool wide_gradient = std::is_constructible_v<std::span<float const>, E>;
template <class E>
inline constexpr bool narrow_gradient = std::is_constructible_v<std::span<diloco::bfloat16 const>, E>;

/// Whether an element's memory outlives the expression that gave the element: an object of the range, or a
/// view of one.
template <class E>
inline constexpr bool outlives =
    std::is_lvalue_reference_v<E> || std::ranges::enable_borrowed_range<std::remove_cvref_t<E>>;

/// What `step` takes: a list with one contiguous gradient per tensor. The first assertion that fails is the
/// compiler's first line.
template <class G>
consteval bool explain_gradients() {
  static_assert(sized_list<G>,
                "diloco: step: gradients is no list; give a range with size(), such as "
                "std::vector<std::span<float const>>, with one element per tensor");
  if constexpr (sized_list<G>) {
    using element = element_of<G>;
    constexpr bool number = std::is_arithmetic_v<std::remove_cvref_t<element>> ||
                            std::is_same_v<std::remove_cvref_t<element>, diloco::bfloat16>;
    constexpr bool convertible = wide_gradient<element> || narrow_gradient<element>;
    static_assert(!number,
                  "diloco: step: gradients is one flat list of numbers; give a list with one std::span<float "
                  "const> per "
                  "tensor, in the order of the parameters");
    static_assert(
        number || convertible,
        "diloco: step: a gradient converts neither to std::span<float const> nor to std::span<bfloat16 "
        "const>; "
        "it must be contiguous float32 or bfloat16 with a known size, so convert double or half first");
    static_assert(
        !convertible || outlives<element>,
        "diloco: step: the range makes each gradient anew and destroys it before it is read; give a range of "
        "std::span, or of objects that stay");
    return convertible && outlives<element>;
  } else {
    return false;
  }
}

}  // namespace detail
}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
