// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/float_formats.hpp>

#include <iterator>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// A view of one tensor's gradient in float32 or bfloat16, for lists that hold both. An empty view means that
/// the tensor has no gradient in this step.
struct gradient_view {
  void const* data = nullptr;
  std::size_t size = 0;
  bool is_bf16 = false;

  gradient_view() = default;
  gradient_view(std::span<float const> g) : data(g.data()), size(g.size()) {}
  gradient_view(std::span<bfloat16 const> g) : data(g.data()), size(g.size()), is_bf16(true) {}
  gradient_view(std::span<float> g) : gradient_view(std::span<float const>(g)) {}
  gradient_view(std::span<bfloat16> g) : gradient_view(std::span<bfloat16 const>(g)) {}
  gradient_view(std::vector<float> const& g) : gradient_view(std::span<float const>(g)) {}
  gradient_view(std::vector<float>&&) = delete;  // its memory would be freed before it is read
};

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

template <class E>
inline constexpr bool is_view = std::is_same_v<std::remove_cvref_t<E>, gradient_view>;
template <class E>
gradient_view view_of(E const& each) {
  if constexpr (is_view<E>)
    return each;
  else if constexpr (wide_gradient<E const&>)
    return std::span<float const>(each);
  else
    return std::span<diloco::bfloat16 const>(each);
}

/// Whether an element's memory outlives the expression that returned it. It does if the element is an object
/// of the range or a view of one.
template <class E>
inline constexpr bool outlives =
    is_view<E> || std::is_lvalue_reference_v<E> || std::ranges::enable_borrowed_range<std::remove_cvref_t<E>>;

/// Checks the argument of `step`: a list with one contiguous gradient per tensor. The first assertion that
/// fails is the first line of the compiler's output.
template <class G>
consteval bool explain_gradients() {
  static_assert(sized_list<G>,
                "diloco: step: gradients is no list; give a range with size(), such as "
                "std::vector<std::span<float const>>, with one element per tensor");
  if constexpr (sized_list<G>) {
    using element = element_of<G>;
    constexpr bool number = std::is_arithmetic_v<std::remove_cvref_t<element>> ||
                            std::is_same_v<std::remove_cvref_t<element>, diloco::bfloat16>;
    constexpr bool convertible = is_view<element> || wide_gradient<element> || narrow_gradient<element>;
    static_assert(!number,
                  "diloco: step: gradients is one flat list of numbers; give a list with one std::span<float "
                  "const> per "
                  "tensor, in the order of the parameters");
    static_assert(
        number || convertible,
        "diloco: step: a gradient converts neither to std::span<float const> nor to std::span<bfloat16 "
        "const>; "
        "it must be contiguous float32 or bfloat16 with a known size, so convert double or half first "
        "(diloco::gradient_view is a view of either)");
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
