// SPDX-License-Identifier: Apache-2.0
// One type in every spelling: explicit, fluent, and deduced from any subset of designated members.
#include <diloco/diloco.hpp>

namespace {

using namespace diloco;

template <class Recipe>
using trainer_of = decltype(DiLoCo(std::declval<Recipe>(), std::declval<std::vector<tensor> const&>()));

using named = DiLoCo<adamw, nesterov, absmax<4, 256>, threads>;

// The fluent spelling works on every compiler.
[[maybe_unused]] auto fluent(threads t) {
  return recipe<>{}
      .with_inner(adamw{.lr = 4e-4f})
      .with_outer(nesterov{})
      .with_compressor(absmax<4, 256>{})
      .with_transport(std::move(t));
}
static_assert(std::is_same_v<trainer_of<decltype(fluent(std::declval<threads>()))>, named>);

[[maybe_unused]] auto fluent_all() {
  return recipe<>{}
      .with_probe(counters{})
      .with_executor(cpp{})
      .with_schedule(manual{})
      .with_transport(alone{})
      .with_exchange(gather{})
      .with_combine(weighted_mean{})
      .with_feedback(no_feedback{})
      .with_compressor(sign<>{})
      .with_outer(sgd{})
      .with_inner(external{})
      .with_deadline_seconds(7);
}
static_assert(std::is_same_v<decltype(fluent_all()), recipe<external, sgd, sign<256>, alone, no_feedback,
                                                            weighted_mean, gather, manual, cpp, counters>>);
static_assert(
    std::is_same_v<decltype(recipe<>{}.with_transport(alone{})), recipe<adamw, nesterov, f32, alone>>);

// Defaults, and the order of the four policies that most users name.
static_assert(std::is_same_v<DiLoCo<adamw, nesterov, f32, alone>,
                             DiLoCo<adamw, nesterov, f32, alone, error_feedback, weighted_mean, automatic,
                                    every, cpp, silent>>);
static_assert(std::is_same_v<absmax<4>, absmax<4, 256>> && std::is_same_v<sign<>, sign<256>>);

// Other values are the same type; another policy is another type.
static_assert(!std::is_same_v<named, DiLoCo<adamw, nesterov, absmax<4, 128>, threads>>);
static_assert(!std::is_same_v<named, DiLoCo<adamw, nesterov, absmax<4, 256>, alone>>);

// The types determine what a trainer keeps besides θ̄.
static_assert(named::has_residual && !DiLoCo<adamw, nesterov, f32, alone>::has_residual);
static_assert(!DiLoCo<adamw, nesterov, absmax<4>, alone, no_feedback>::has_residual);
static_assert(named::steps_inside && !DiLoCo<external, nesterov, f32, alone>::steps_inside);

#if !defined(__clang__) || __clang_major__ >= 17
// Any subset of members, in their order.
auto subset_one = recipe{.transport = alone{}};
auto subset_two = recipe{.compressor = absmax<8>{}, .transport = alone{}, .schedule = every(20)};
auto subset_ends = recipe{.inner = lion{}, .transport = alone{}, .probe = counters{}, .deadline_seconds = 60};
auto subset_most = recipe{.inner = adamw{.lr = 4e-4f},
                          .outer = nesterov{.lr = 0.7f, .momentum = 0.9f},
                          .compressor = absmax<4, 256>{},
                          .feedback = no_feedback{},
                          .combine = weighted_mean{},
                          .exchange = scatter_gather{},
                          .transport = alone{},
                          .schedule = manual{},
                          .executor = cpp{}};
static_assert(std::is_same_v<decltype(subset_one), recipe<adamw, nesterov, f32, alone>>);
static_assert(std::is_same_v<decltype(subset_two), recipe<adamw, nesterov, absmax<8>, alone>>);
static_assert(std::is_same_v<decltype(subset_ends), recipe<lion, nesterov, f32, alone, error_feedback,
                                                           weighted_mean, automatic, every, cpp, counters>>);
static_assert(std::is_same_v<decltype(subset_most), recipe<adamw, nesterov, absmax<4>, alone, no_feedback,
                                                           weighted_mean, scatter_gather, manual, cpp>>);
static_assert(std::is_same_v<decltype(recipe{}), recipe<>>);

[[maybe_unused]] auto designated(threads t) {
  return recipe{.inner = adamw{.lr = 4e-4f}, .compressor = absmax<4, 256>{}, .transport = std::move(t)};
}
static_assert(std::is_same_v<trainer_of<decltype(designated(std::declval<threads>()))>, named>);
#endif

}  // namespace
