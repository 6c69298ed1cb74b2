// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/core/config.hpp>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// What went wrong, for programs. The message is for people.
enum class cause {
  bad_setting,   ///< a hyper-parameter outside its range
  bad_layout,    ///< tensors or gradients of the wrong number, size or name
  not_finite,    ///< NaN, Inf, or a magnitude that the compressor cannot encode
  disagreement,  ///< ranks differ in settings, layout, weights or state
  wrong_state,   ///< the call is not allowed now: a flight is open, or the transport broke earlier
  timeout,       ///< the deadline passed
  peer_lost,     ///< a peer left or dropped its part of a round
  transport,     ///< the transport's own library reported an error
  device,        ///< the executor's device reported an error, or has no memory left
  bad_file,      ///< a file that cannot be read or written, or has the wrong content
  corrupted,     ///< a message arrived with other bits than were sent
  foreign,       ///< foreign code threw an exception: a transport, an allocator, the caller's policy
};

/// One failure: the rank that saw it, the round in which it happened, and one sentence that names the cause.
struct error {
  cause what = cause::bad_setting;
  int rank = 0;
  long round = 0;
  std::string message;
  bool step_taken = false;  ///< a failed round: the step before it stands; do not repeat it
};

class exception : public std::runtime_error {
 public:
  explicit exception(error e) : std::runtime_error(e.message), error_(std::move(e)) {}
  [[nodiscard]] error const& details() const noexcept { return error_; }

 private:
  error error_;
};

/// Throws `exception`. With -fno-exceptions it prints the sentence and aborts; use the `try_` functions
/// there.
[[noreturn]] inline void raise(error e) {
#if DILOCO_EXCEPTIONS
  throw exception(std::move(e));
#else
  std::fprintf(stderr, "%s\n", e.message.c_str());
  std::abort();
#endif
}

namespace detail {

/// Null or an error of its own. `std::variant` in its place costs 0.02 s of compile time for each type of
/// result.
class held_error {
 public:
  held_error() = default;
  DILOCO_COLD explicit held_error(error e) : at_(new error(std::move(e))) {}
  held_error(held_error&& from) noexcept : at_(std::exchange(from.at_, nullptr)) {}
  DILOCO_COLD held_error(held_error const& from)
      : at_(from.at_ == nullptr ? nullptr : new error(*from.at_)) {}
  held_error& operator=(held_error from) noexcept {
    std::swap(at_, from.at_);
    return *this;
  }
  ~held_error() {
    if (at_ != nullptr) drop();
  }
  [[nodiscard]] bool none() const { return at_ == nullptr; }
  [[nodiscard]] error& operator*() const { return *at_; }

 private:
  DILOCO_COLD [[gnu::noinline]] void drop() { delete at_; }
  error* at_ = nullptr;
};
struct no_value {};

}  // namespace detail

/// A value or an error, the result of every `try_` function. A result that was moved from must not be read.
template <class T = void>
class [[nodiscard]] result {
  using stored = std::conditional_t<std::is_void_v<T>, detail::no_value, T>;

 public:
  result() requires std::is_void_v<T> {}
  template <class U = stored>
  requires(!std::is_void_v<T> && std::is_constructible_v<stored, U&&> &&
           !std::is_same_v<std::remove_cvref_t<U>, result> && !std::is_same_v<std::remove_cvref_t<U>, error>)
      result(U&& value)
      : value_(std::forward<U>(value)) {}
  DILOCO_COLD result(diloco::error e) : error_(std::move(e)) {}

  [[nodiscard]] bool has_value() const noexcept { return error_.none(); }
  explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] diloco::error const& error() const& { return *error_; }
  [[nodiscard]] diloco::error&& error() && { return std::move(*error_); }

  /// Returns the value, or calls `raise`.
  std::conditional_t<std::is_void_v<T>, void, stored&> value() & {
    if (!has_value()) raise(error());
    if constexpr (!std::is_void_v<T>) return *value_;
  }
  T value() && {
    if (!has_value()) raise(std::move(*this).error());
    if constexpr (!std::is_void_v<T>) return std::move(*value_);
  }
  stored* operator->() { return &*value_; }
  stored const* operator->() const { return &*value_; }
  stored& operator*() & { return *value_; }
  stored const& operator*() const& { return *value_; }
  stored&& operator*() && { return std::move(*value_); }

 private:
  [[no_unique_address]] std::conditional_t<std::is_void_v<T>, detail::no_value, std::optional<stored>> value_;
  detail::held_error error_;
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
