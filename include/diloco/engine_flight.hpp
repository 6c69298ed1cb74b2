// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/executor.hpp>
#include <diloco/concepts/transport.hpp>
#include <diloco/recipe.hpp>

#include <memory>
#include <optional>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
struct step_options {
  float lr_scale = 1.0f;    ///< scales the inner learning rate in this step, on top of the recipe's `rate`
  float grad_scale = 1.0f;  ///< multiplies every gradient, before it is clipped: loss scaling, accumulation
  double tokens = 1.0;      ///< what this step adds to the worker's weight in the next mean
  bool skip_not_finite = false;  ///< a gradient that is not finite makes this a skipped step, and no error
};

/// What became of a step and of the round that was due after it. A step that was refused changed nothing.
/// Where only the round failed, the step stands and is counted: do not take it again.
class [[nodiscard]] step_result {
 public:
  step_result() = default;
  /// The step was refused.
  step_result(diloco::error refused) : failure_(std::move(refused)) {}
  /// The step was taken, and `round` is what became of the round, if one was due.
  static step_result taken(result<> round) {
    if (round) return {};
    diloco::error failed = std::move(round).error();
    failed.step_taken = true;
    return step_result(std::move(failed));
  }

  [[nodiscard]] bool step_taken() const noexcept { return has_value() || failure_.error().step_taken; }
  [[nodiscard]] bool round_failed() const noexcept { return !has_value() && failure_.error().step_taken; }
  /// Whether all went well.
  [[nodiscard]] bool has_value() const noexcept { return failure_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  /// Of the step, or of the round: its `step_taken` says which.
  [[nodiscard]] diloco::error const& error() const { return failure_.error(); }
  void value() const {
    if (!has_value()) raise(error());
  }
  operator result<>() const { return failure_; }

 private:
  result<> failure_;
};

struct land_options {
  /// Share of θ that survives: θ ← mix·θ + (1−mix)·θ̄, for steps taken while the round was under way.
  float mix = 0.0f;
};

/// A list of parameters, and neither tokens nor step_options.
template <class P>
concept no_options = !std::is_convertible_v<P const&, double> && !std::is_same_v<P, step_options>;

namespace detail {

/// What a trainer and its flight both know: whose it is, and whether it was lost.
struct flight_watch {
  bool dropped = false;
};

/// Gives a recipe back to its lender when the trainer that took it is destroyed before `keep`. Its transport
/// then carries the refusal to the peers.
template <class Recipe>
struct hand_back {
  Recipe *held = nullptr, *lender = nullptr;

  hand_back(Recipe& mine, Recipe& of) : held(&mine), lender(&of) {}
  hand_back(hand_back&& other) noexcept = default;
  hand_back& operator=(hand_back&& other) noexcept = default;
  ~hand_back() {
    if (lender == nullptr) return;
    std::destroy_at(lender);
    std::construct_at(lender, std::move(*held));
  }
  void keep() { held = lender = nullptr; }
};

/// Waits, on behalf of a trainer that ends, for what still reads and writes its memory. Moves with it.
template <executor E>
class last_wait {
 public:
  explicit last_wait(E const& where) : where_(where) {}
  last_wait(last_wait&& other) noexcept : where_(std::exchange(other.where_, std::nullopt)) {}
  last_wait& operator=(last_wait&& other) noexcept {
    now();
    where_ = std::exchange(other.where_, std::nullopt);
    return *this;
  }
  ~last_wait() = default;
  /// Where the device has failed, there is nothing left to wait for.
  void now() noexcept {
    if (!where_) return;
#if DILOCO_EXCEPTIONS
    try {
      where_->wait();
    } catch (...) {
    }
#else
    where_->wait();
#endif
    where_.reset();
  }

 private:
  std::optional<E> where_;
};

}  // namespace detail

/// A round under way: `DiLoCo<…>::flight`. Move-only; hand it to `land`. One that is destroyed instead ends
/// its trainer's run, and the round of every rank that still waits for its part.
template <class Transport>
class round_flight {
 public:
  round_flight(round_flight&& other) noexcept = default;
  round_flight& operator=(round_flight&& other) noexcept {
    drop();
    pending_ = std::move(other.pending_);
    watch_ = std::move(other.watch_);
    round_ = other.round_;
    weight_ = other.weight_;
    scheduled_ = other.scheduled_;
    heard_ = other.heard_;
    history_ = other.history_;
    return *this;
  }
  ~round_flight() { drop(); }
  [[nodiscard]] std::uint64_t round() const { return round_; }

 private:
  template <class, class, class, class, class, class, class, class, class, class, class>
  friend class DiLoCo;
  round_flight(pending_of<Transport> p, std::shared_ptr<detail::flight_watch> w, std::uint64_t round,
               double weight, bool scheduled)
      : pending_(std::move(p)), watch_(std::move(w)), round_(round), weight_(weight), scheduled_(scheduled) {}
  void drop() {
    if (watch_ != nullptr) watch_->dropped = true;
    watch_.reset();
  }
  pending_of<Transport> pending_;
  std::shared_ptr<detail::flight_watch> watch_;  // empty once handed over
  std::uint64_t round_;
  double weight_;
  bool scheduled_;             // by the schedule, and not by the caller's hand
  bool heard_ = false;         // this rank's contribution counted
  std::uint64_t history_ = 0;  // of the trainer, once this round is committed
};

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
