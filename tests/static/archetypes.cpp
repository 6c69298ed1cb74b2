// SPDX-License-Identifier: Apache-2.0
// Each concept accepts its minimal type and refuses the same type with any one part left out.
#include "support/archetypes.hpp"

namespace {

using archetype::without;
using namespace diloco;

// Roles of the round.
static_assert(element_optimizer<archetype::optimizer<>> && replicated<archetype::optimizer<>>);
static_assert(!optimizer<archetype::optimizer<without::name>>);
static_assert(!optimizer<archetype::optimizer<without::copy>>);
static_assert(optimizer<archetype::optimizer<without::slots>> &&
              !element_optimizer<archetype::optimizer<without::slots>>);
static_assert(optimizer<archetype::optimizer<without::at>> &&
              !element_optimizer<archetype::optimizer<without::at>>);
static_assert(!element_optimizer<archetype::optimizer<without::matching_step>>);
static_assert(!element_optimizer<archetype::optimizer<without::trivial_step>>);
static_assert(element_optimizer<archetype::optimizer<without::promise>> &&
              !replicated<archetype::optimizer<without::promise>>);
static_assert(!external_optimizer<archetype::optimizer<>>);
static_assert(anchored_optimizer<archetype::anchored<>> && !element_optimizer<archetype::anchored<>> &&
              !anchored_optimizer<archetype::optimizer<>>);
static_assert(!anchored_optimizer<archetype::anchored<without::slots>> &&
              !anchored_optimizer<archetype::anchored<without::at>> &&
              !anchored_optimizer<archetype::anchored<without::matching_step>>);
static_assert(outer_optimizer<archetype::anchored<>> && outer_optimizer<archetype::optimizer<>> &&
              !outer_optimizer<archetype::anchored<without::matching_step>>);
// An inner optimizer needs no `largest`.
static_assert(!outer_optimizer<archetype::anchored<without::largest>> &&
              !outer_optimizer<archetype::optimizer<without::largest>> &&
              element_optimizer<archetype::optimizer<without::largest>>);

static_assert(block_compressor<archetype::compressor<>>);
static_assert(!compressor<archetype::compressor<without::name>>);
static_assert(!compressor<archetype::compressor<without::block>>);
static_assert(!compressor<archetype::compressor<without::traits>>);
static_assert(!compressor<archetype::compressor<without::largest>>);
static_assert(!compressor<archetype::compressor<without::side_bytes>>);
static_assert(!compressor<archetype::compressor<without::code_bytes>>);
static_assert(compressor<archetype::compressor<without::encode>> &&
              !encodes_blocks<archetype::compressor<without::encode>>);
static_assert(compressor<archetype::compressor<without::decode>> &&
              !decodes_blocks<archetype::compressor<without::decode>>);
static_assert(!block_compressor<archetype::compressor<without::encode>>);
static_assert(!block_compressor<archetype::compressor<without::decode>>);

static_assert(staged_compressor<archetype::staged<>> && !block_compressor<archetype::staged<>>);
static_assert(!compressor<archetype::staged<without::name>> &&
              !compressor<archetype::staged<without::block>>);
static_assert(!compressor<archetype::staged<without::traits>> &&
              !compressor<archetype::staged<without::largest>>);
static_assert(!compressor<archetype::staged<without::code_bytes>> &&
              !compressor<archetype::staged<without::slice_bytes>>);
static_assert(compressor<archetype::staged<without::encode>> &&
              !staged_compressor<archetype::staged<without::encode>>);
static_assert(compressor<archetype::staged<without::decode>> &&
              !staged_compressor<archetype::staged<without::decode>>);

static_assert(feedback<archetype::feedback<>>);
static_assert(!feedback<archetype::feedback<without::name>>);
static_assert(!feedback<archetype::feedback<without::traits>>);
static_assert(!feedback<archetype::feedback<without::owner>>);
static_assert(!feedback<archetype::feedback<without::at>>);
static_assert(!feedback<archetype::feedback<without::want>>);
static_assert(!feedback<archetype::feedback<without::keep>>);

static_assert(linear_combine<archetype::combine<>>);
static_assert(!linear_combine<archetype::combine<without::name>>);
static_assert(!linear_combine<archetype::combine<without::coefficients>>);

static_assert(schedule<archetype::schedule<>>);
static_assert(!schedule<archetype::schedule<without::name>>);
static_assert(!schedule<archetype::schedule<without::fragments>>);
static_assert(!schedule<archetype::schedule<without::traits>>);
static_assert(!schedule<archetype::schedule<without::cut>>);
static_assert(!schedule<archetype::schedule<without::rounds_per_step>>);
static_assert(!schedule<archetype::schedule<without::after>>);
static_assert(!schedule<archetype::schedule<without::describe>>);

static_assert(exchange_policy<archetype::exchange<>>);
static_assert(!exchange_policy<archetype::exchange<without::name>>);
static_assert(!exchange_policy<archetype::exchange<without::legs>>);
static_assert(!exchange_policy<archetype::exchange<without::second>>);

// Mechanism.
static_assert(executor<archetype::executor<>>);
static_assert(!executor<archetype::executor<without::name>>);
static_assert(!executor<archetype::executor<without::columns_on_host>>);
static_assert(!executor<archetype::executor<without::traits>>);
static_assert(!executor<archetype::executor<without::allocate>>);
static_assert(!executor<archetype::executor<without::allocate_wire>>);
static_assert(!executor<archetype::executor<without::for_each>>);
static_assert(!executor<archetype::executor<without::wait>>);

static_assert(transport<archetype::transport<>> && pairing_transport<archetype::transport<>>);
static_assert(transport<archetype::transport<without::exchange>> &&
              !pairing_transport<archetype::transport<without::exchange>>);
static_assert(!transport<archetype::transport<without::name>>);
static_assert(!transport<archetype::transport<without::in_place>>);
static_assert(!transport<archetype::transport<without::traits>>);
static_assert(!transport<archetype::transport<without::rank>>);
static_assert(!transport<archetype::transport<without::size>>);
static_assert(!transport<archetype::transport<without::all_gather>>);
static_assert(!transport<archetype::transport<without::all_to_all>>);
static_assert(!transport<archetype::transport<without::one_pending>>,
              "both exchanges give the same kind of handle");
static_assert(pending<archetype::pending<>>);
static_assert(!pending<archetype::pending<without::wait>>);
static_assert(!pending<archetype::pending<without::move_only_pending>>,
              "an exchange under way has one owner");
static_assert(!transport<archetype::transport<without::move_only_pending>>);
static_assert(arrival<archetype::arrival<>>);
static_assert(!arrival<archetype::arrival<without::roster>>);
static_assert(!arrival<archetype::arrival<without::wire>>);
static_assert(!arrival<archetype::arrival<without::done>>);
static_assert(!arrival<archetype::arrival<without::reclaim>>);
static_assert(!transport<archetype::transport<without::reclaim>>, "the concepts nest");

// Lanes: empty, with order-free reductions.
static_assert(lanes<solo>);
struct with_state : solo {
  int rank_ = 0;
};
struct without_sum {
  static constexpr int width = 1;
  static int rank();
  static std::uint32_t max(std::uint32_t);
  template <int>
  static std::uint32_t max_of(std::uint32_t);
  static float partner(float, int);
  static void atomic_min(std::uint32_t*, std::uint32_t);
  static void sync();
};
struct float_reductions {
  static constexpr int width = 1;
  static int rank();
  static float max(float);
  static float sum(float);
  template <int>
  static std::uint32_t max_of(std::uint32_t);
  static float partner(float, int);
  static void atomic_min(std::uint32_t*, std::uint32_t);
  static void sync();
};
static_assert(!lanes<with_state> && !lanes<without_sum>);
static_assert(!lanes<float_reductions>, "a float sum depends on the order of the lanes");

// An empty type satisfies no concept.
struct empty {};
static_assert(!optimizer<empty> && !compressor<empty> && !feedback<empty> && !linear_combine<empty> &&
              !schedule<empty>);
static_assert(!executor<empty> && !transport<empty> && !pending<empty> && !arrival<empty> && !lanes<empty>);
static_assert(!transport<unnamed_transport>, "there is no default world");

// A trainer can consist entirely of types from outside the library.
using all_own = DiLoCo<archetype::optimizer<>, archetype::optimizer<>, archetype::compressor<>,
                       archetype::transport<>, archetype::feedback<>, archetype::combine<>,
                       archetype::exchange<>, archetype::schedule<>, archetype::executor<>>;
static_assert(!all_own::has_residual,
              "a lossless compressor carries no residual, whatever the feedback wants");
static_assert(all_own::steps_inside);

}  // namespace
