// SPDX-License-Identifier: Apache-2.0
// must compile
// The twin of all the others: the same archetypes with nothing left out, and every call that they get wrong.
#include "../support/archetypes.hpp"

#include <diloco/compressor/absmax.hpp>
#include <diloco/compressor/low_rank.hpp>
#include <diloco/compressor/sign.hpp>
#include <diloco/optimizer/external.hpp>
#include <diloco/optimizer/noloco.hpp>

// nvcc must see the same concepts. One of them once used a lambda that nvcc never matched, and no setting was
// checked.
static_assert(diloco::has_fields<diloco::adamw> && diloco::has_fields<diloco::every> &&
              !diloco::has_fields<diloco::alone>);
static_assert(diloco::element_optimizer<diloco::adamw> && !diloco::element_optimizer<diloco::external>);
static_assert(diloco::block_compressor<diloco::sign<>> && diloco::transport<diloco::alone>);

void make(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_inner(archetype::optimizer<>{})
                             .with_outer(archetype::optimizer<>{})
                             .with_compressor(archetype::compressor<>{})
                             .with_feedback(archetype::feedback<>{})
                             .with_combine(archetype::combine<>{})
                             .with_exchange(archetype::exchange<>{})
                             .with_transport(archetype::transport<>{})
                             .with_schedule(archetype::schedule<>{})
                             .with_executor(archetype::executor<>{}),
                         parameters);
  trainer.sync();
}

void make_staged(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(
      diloco::recipe<>{}.with_compressor(archetype::staged<>{}).with_transport(diloco::alone{}), parameters);
  trainer.sync();
}

void make_pairs(std::vector<diloco::tensor> const& parameters) {
  diloco::DiLoCo trainer(diloco::recipe<>{}
                             .with_outer(archetype::anchored<>{})
                             .with_transport(archetype::transport<>{})
                             .with_exchange(diloco::gossip{}),
                         parameters);
  trainer.sync();
  diloco::DiLoCo few(diloco::recipe<>{}
                         .with_outer(diloco::noloco{})
                         .with_compressor(diloco::low_rank<4>{})
                         .with_transport(diloco::alone{})
                         .with_exchange(diloco::gossip{}),
                     parameters);
  few.sync();
}

using steps_inside = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::f32, diloco::alone>;
using steps_outside = diloco::DiLoCo<diloco::external, diloco::nesterov, diloco::f32, diloco::alone>;

void train(steps_inside& t, std::vector<std::vector<float>> const& gradients) {
  t.step(gradients);
  t.step(gradients, {.lr_scale = 0.5f, .tokens = 8});
  auto flight = t.launch();
  auto second = std::move(flight);
  t.land(std::move(second));
}
void train(steps_outside& t) {
  t.after_step();
  t.after_step(8);
}

diloco::absmax<4> nibbles;
diloco::absmax<8, 96> bytes;
diloco::sign<512> bits;
struct four_lanes : diloco::solo {
  static constexpr int width = 4;
};
diloco::lane_block<four_lanes, 64> part_of_a_block;
