// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <diloco/combine/weighted_mean.hpp>
#include <diloco/compressor/f32.hpp>
#include <diloco/exchange/exchange.hpp>
#include <diloco/executor/host.hpp>
#include <diloco/feedback/error_feedback.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/nesterov.hpp>
#include <diloco/probe/silent.hpp>
#include <diloco/rate/constant_rate.hpp>
#include <diloco/schedule/every.hpp>
#include <diloco/signal/pseudo_gradient.hpp>

#include <tuple>
#include <utility>

namespace diloco {
inline namespace DILOCO_NAMESPACE {

/// Stands for a transport that the user did not name. There is no default transport.
struct unnamed_transport {};

/// What happens to the inner optimizer's state when a round lands. `reset` zeros it and restarts bias
/// corrections. This costs AdamW quality: a toy's loss went from 1.22 to 2.06.
/// `average` sends the slots as float32 next to the pseudo-gradient and takes their mean with the same
/// weights. The message grows by 4 B/param for each slot of the group that has most.
/// FedOpt and SlowMo do this; DiLoCo found no gain.
enum class at_sync { keep, reset, average };

/// How float32 θ is rounded to the caller's bfloat16: to nearest even, or stochastically up or down with mean
/// θ.
enum class rounding { nearest, stochastic };

/// For clip_norm: gradients are not clipped.
inline constexpr float no_clipping = static_cast<float>(unbounded);

/// What the user fills in: one policy per line of the round. Each has a default, except the transport. Name
/// the members that matter: `recipe{.compressor = absmax<4>{}, .transport = alone{}}`.
/// clang below 17 cannot deduce the type from a subset of members.
/// `recipe<>{}.with_compressor(absmax<4>{}).with_transport(alone{})` says the same and works everywhere.
template <class Inner = adamw, class Outer = nesterov, class Compressor = f32,
          class Transport = unnamed_transport, class Feedback = error_feedback, class Combine = weighted_mean,
          class Exchange = automatic, class Schedule = every, class Executor = cpp, class Probe = silent,
          class Rate = constant_rate, class Signal = pseudo_gradient>
struct recipe {
  using inner_type = Inner;
  using outer_type = Outer;
  using compressor_type = Compressor;
  using transport_type = Transport;
  using feedback_type = Feedback;
  using combine_type = Combine;
  using exchange_type = Exchange;
  using schedule_type = Schedule;
  using executor_type = Executor;
  using probe_type = Probe;
  using rate_type = Rate;
  using signal_type = Signal;

  Inner inner{};
  Outer outer{};
  Compressor compressor{};
  Feedback feedback{};
  Combine combine{};
  Exchange exchange{};
  Transport transport{};
  Schedule schedule{};
  Executor executor{};
  Probe probe{};
  Rate rate{};
  Signal signal{};
  double deadline_seconds = 300;  ///< of every wait for peers; with groups up to 2.5 times that
  float clip_norm =
      no_clipping;  ///< longer gradients, over all tensors, are scaled to this norm before the step
  at_sync inner_at_sync = at_sync::keep;
  rounding bf16_rounding = rounding::nearest;
  std::uint32_t seed = 0;  ///< of stochastic rounding
  std::uint64_t max_skipped_steps =
      1000;  ///< in a row; one more is an error, so that a run that learns nothing ends

  template <class P>
  [[nodiscard]] auto with_inner(P p) && {
    return replace<0>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_outer(P p) && {
    return replace<1>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_compressor(P p) && {
    return replace<2>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_feedback(P p) && {
    return replace<3>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_combine(P p) && {
    return replace<4>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_exchange(P p) && {
    return replace<5>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_transport(P p) && {
    return replace<6>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_schedule(P p) && {
    return replace<7>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_executor(P p) && {
    return replace<8>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_probe(P p) && {
    return replace<9>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_rate(P p) && {
    return replace<10>(std::move(p));
  }
  template <class P>
  [[nodiscard]] auto with_signal(P p) && {
    return replace<11>(std::move(p));
  }
  [[nodiscard]] recipe with_deadline_seconds(double seconds) && {
    deadline_seconds = seconds;
    return std::move(*this);
  }
  [[nodiscard]] recipe with_clip_norm(float norm) && {
    clip_norm = norm;
    return std::move(*this);
  }
  [[nodiscard]] recipe with_bf16_rounding(rounding how, std::uint32_t from = 0) && {
    bf16_rounding = how;
    seed = from;
    return std::move(*this);
  }
  [[nodiscard]] recipe with_max_skipped_steps(std::uint64_t in_a_row) && {
    max_skipped_steps = in_a_row;
    return std::move(*this);
  }
  [[nodiscard]] recipe with_inner_at_sync(at_sync what) && {
    inner_at_sync = what;
    return std::move(*this);
  }

 private:
  template <class In, class O, class C, class F, class M, class X, class T, class S, class E, class R,
            class L, class G>
  auto assemble(In i, O o, C c, F f, M m, X x, T t, S s, E e, R r, L l, G g) const {
    return recipe<In, O, C, T, F, M, X, S, E, R, L, G>{
        std::move(i),     std::move(o), std::move(c),  std::move(f),  std::move(m), std::move(x),
        std::move(t),     std::move(s), std::move(e),  std::move(r),  std::move(l), std::move(g),
        deadline_seconds, clip_norm,    inner_at_sync, bf16_rounding, seed,         max_skipped_steps};
  }
  template <std::size_t Which, class P>
  auto replace(P p) {
    auto all = std::tie(inner, outer, compressor, feedback, combine, exchange, transport, schedule, executor,
                        probe, rate, signal);
    auto pick = [&]<std::size_t Index>(std::integral_constant<std::size_t, Index>) -> auto&& {
      if constexpr (Index == Which)
        return std::move(p);
      else
        return std::move(std::get<Index>(all));
    };
    return [&]<std::size_t... Index>(std::index_sequence<Index...>) {
      return assemble(pick(std::integral_constant<std::size_t, Index>{})...);
    }
    (std::make_index_sequence<12>{});
  }
};

/// The trainer (trainer.hpp). The four policies that most users name come first.
template <class Inner = adamw, class Outer = nesterov, class Compressor = f32,
          class Transport = unnamed_transport, class Feedback = error_feedback, class Combine = weighted_mean,
          class Exchange = automatic, class Schedule = every, class Executor = cpp, class Probe = silent,
          class Rate = constant_rate, class Signal = pseudo_gradient>
class DiLoCo;

}  // namespace DILOCO_NAMESPACE
}  // namespace diloco
