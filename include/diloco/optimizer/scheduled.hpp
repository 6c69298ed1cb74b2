// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/concepts/learning_rate.hpp>
#include <diloco/concepts/optimizer.hpp>
#include <diloco/core/field.hpp>
#include <diloco/core/text.hpp>

namespace diloco {
inline namespace DILOCO_NAMESPACE {
namespace detail {

/// A rate that does nothing, for the momentum.
struct steady {
  static constexpr std::string_view name = "";
  static constexpr rate_traits traits{.constant = true, .replicated = true};
  [[nodiscard]] constexpr float factor(std::uint64_t) const { return 1.0f; }
  friend bool operator==(steady const&, steady const&) = default;
};

/// A factor of a rate of your own, which may be wrong. It is the same on all ranks, so all of them raise.
DILOCO_COLD inline float factor_in_range(std::string_view outer, std::uint64_t round, float factor) {
  if (zero_to_one.holds(static_cast<double>(factor))) return factor;
  raise({cause::bad_setting, 0, static_cast<long>(round) - 1,
         say({"diloco: outer ", outer, ": the factor of round ", round, ", counted from 1, is ", factor,
              "; it must be in [0, 1]"})});
}

}  // namespace detail

/// An outer optimizer whose learning rate, and momentum if the third policy is given, follow schedules of
/// rounds: the factor of round r is rate.factor(r), from 1 on. So the numbers are a function of the committed
/// round, equal on all ranks, and travel in the contract and in snapshots.
/// `Rate` is replicated, such as warmup_stable_decay and inverse_square_root; warmup_cosine is not.
/// Pier (arXiv 2511.17849) ramps both.
template <class Optimizer, class Rate, class MomentumRate = detail::steady>
struct scheduled {
  Optimizer optimizer{};
  Rate rate{};
  MomentumRate momentum_rate{};

  static_assert(
      Rate::traits.replicated && MomentumRate::traits.replicated,
      "diloco: outer: follows a rate whose bits differ between machines; say warmup_stable_decay or "
      "inverse_square_root, and spell the multiply-adds of your own with std::fma");
  static_assert(MomentumRate::traits.constant || traits_of<Optimizer>.scales_momentum,
                "diloco: outer: has no momentum that could follow a rate; say nesterov, heavy_ball or sgd");

  static constexpr auto text = [] {
    constexpr std::string_view by = MomentumRate::name;
    return join(std::string_view(Optimizer::name), " by ", std::string_view(Rate::name),
                by.empty() ? "" : ", momentum by ", by);
  }();
  static constexpr std::string_view name = text.view();
  static constexpr optimizer_traits traits = traits_of<Optimizer>;
  static constexpr auto slots = Optimizer::slots;

  [[nodiscard]] auto at(step_context c) const {
    c.lr_scale *= detail::factor_in_range(name, c.step, rate.factor(c.step));
    c.momentum_scale *= detail::factor_in_range(name, c.step, momentum_rate.factor(c.step));
    return optimizer.at(c);
  }
  /// Factors are at most 1, so neither rate nor momentum is above the optimizer's.
  [[nodiscard]] constexpr float largest() const { return optimizer.largest(); }

  template <class F>
  constexpr void fields(F&& f) const {
    fields_of_member("optimizer", optimizer, f);
    fields_of_member("rate", rate, f);
    fields_of_member("momentum_rate", momentum_rate, f);
  }
  [[nodiscard]] std::string validation_error() const {
    return error_of_members(optimizer, rate, momentum_rate);
  }
  friend bool operator==(scheduled const&, scheduled const&) = default;
};
template <class Optimizer, class Rate>
scheduled(Optimizer, Rate) -> scheduled<Optimizer, Rate>;
template <class Optimizer, class Rate, class MomentumRate>
scheduled(Optimizer, Rate, MomentumRate) -> scheduled<Optimizer, Rate, MomentumRate>;

/// An outer optimizer that begins anew after every `period` rounds, with slots of 0 and a step count of 1
/// (arXiv 2605.28585). With a period of 1, nesterov is plain_sgd of lr·(1 + momentum).
/// A schedule within begins anew, too; `scheduled{restarted{…}, rate}` goes on. A round that is dropped
/// restarts nothing, so under `gossip` a pair that is idle in that round keeps its momentum.
template <class Optimizer>
struct restarted {
  Optimizer optimizer{};
  std::uint64_t period = 3;

  static constexpr auto text = join("restarted ", std::string_view(Optimizer::name));
  static constexpr std::string_view name = text.view();
  static constexpr optimizer_traits traits = traits_of<Optimizer>;
  static constexpr auto slots = Optimizer::slots;

  template <class Step>
  struct step {
    Step inner;
    bool fresh;
    template <class... Slot>
    DILOCO_HD void operator()(float& p, float g, Slot&... slot) const {
      ((slot = fresh ? 0.0f : slot), ...);
      inner(p, g, slot...);
    }
  };
  [[nodiscard]] auto at(step_context c) const {
    c.step = (c.step - 1) % period + 1;
    return step<std::remove_cvref_t<decltype(optimizer.at(c))>>{optimizer.at(c), c.step == 1};
  }
  [[nodiscard]] constexpr float largest() const { return optimizer.largest(); }

  template <class F>
  constexpr void fields(F&& f) const {
    fields_of_member("optimizer", optimizer, f);
    f("period", period, range{1, 9007199254740992.0});
  }
  [[nodiscard]] std::string validation_error() const { return error_of_members(optimizer); }
  friend bool operator==(restarted const&, restarted const&) = default;
};
template <class Optimizer>
restarted(Optimizer, std::uint64_t) -> restarted<Optimizer>;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
