// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/error.hpp>

#include <exception>
#include <string_view>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {
template <class R>
struct as_result {
  using type = result<R>;
};
template <class R>
struct as_result<result<R>> {
  using type = result<R>;
};
}  // namespace detail

/// Calls code that may throw (a transport, an executor, an allocator) and returns its result. An exception
/// becomes the error `failed(cause, text)`. A `diloco::exception` keeps its cause.
template <class Failed, class F>
auto guarded([[maybe_unused]] Failed&& failed, F&& f) {
  using returned = std::invoke_result_t<F&>;
  using answer = typename detail::as_result<std::remove_cvref_t<returned>>::type;
  auto const call = [&]() -> answer {
    if constexpr (std::is_void_v<returned>) {
      f();
      return {};
    } else {
      return f();
    }
  };
#if DILOCO_EXCEPTIONS
  try {
    return call();
  } catch (exception const& e) {
    return answer(failed(e.details().what, std::string_view(e.what())));
  } catch (std::exception const& e) {
    return answer(failed(cause::foreign, std::string_view(e.what())));
  } catch (...) {
    return answer(failed(cause::foreign, std::string_view("an exception without text")));
  }
#else
  return call();
#endif
}

#if DILOCO_EXCEPTIONS
/// The text of a caught exception.
[[gnu::noinline, gnu::cold]] inline std::string text_of(std::exception_ptr const& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (std::exception const& e) {
    return e.what();
  } catch (...) {
    return "an exception without text";
  }
}
#endif

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
