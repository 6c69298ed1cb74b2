// SPDX-License-Identifier: Apache-2.0
// Instantiates what a user's program would, so that warnings inside templates show. It is compiled with
// -Wconversion and -Wsign-conversion, in a gnu dialect, after headers whose macros are short names.
#define DILOCO_HEADER <diloco/diloco.hpp>
#define main main_of_alone
#include "alone.cpp"
#undef main

namespace {

template <class Recipe>
void train(Recipe r) {
  std::vector<float> x(300), g(300);
  diloco::DiLoCo t(std::move(r), std::vector<diloco::tensor>{{"x", {20, 15}, x.data()}});
  if (!t.try_step(std::vector<std::span<float const>>{g}, {.skip_not_finite = true})) return;
  t.reset_feedback();
  t.sync();
}

template <class... Compressor>
void train_with(Compressor... c) {
  (train(diloco::recipe<>{}.with_compressor(c).with_transport(diloco::alone{})), ...);
}

}  // namespace

int main() {
  using namespace diloco;
  train_with(f32{}, f16{}, bf16{}, absmax<8>{}, absmax<4>{}, absmax<2>{}, min_max<4>{}, e4m3<>{}, e2m1<>{},
             e3m0<>{}, mxfp4{}, nvfp4{}, dynamic8<>{}, sign<>{}, natural<>{}, qsgd<4>{}, lloyd_max<2>{},
             top_k<64>{}, random_k<64>{}, dct_top_k<64>{}, statistical<4>{}, low_rank<2>{});
  auto const with = [] { return recipe<>{}.with_transport(alone{}).with_compressor(absmax<4>{}); };
  train(with().with_inner(adamw8bit<>{}).with_inner_at_sync(at_sync::reset));
  train(with()
            .with_inner(lion{})
            .with_inner_at_sync(at_sync::average)
            .with_outer(fedadam{})
            .with_clip_norm(1.0f));
  train(with().with_inner(adafactor{}).with_exchange(scatter_gather{}).with_feedback(averaged_error{}));
  train(with()
            .with_inner(ivon{})
            .with_combine(precision_weighted{})
            .with_feedback(averaged_error{})
            .with_rate(warmup_cosine{.total = 9}));
  train(with()
            .with_inner(groups(group{matrices, signum{}}, group{the_rest, frozen{}}))
            .with_probe(jsonl{stdout}));
  train(with().with_feedback(ef21{}));
  train(with()
            .with_exchange(gossip{})
            .with_outer(noloco{})
            .with_feedback(no_feedback{})
            .with_probe(counters{}));
  run_threads(2,
              [&](threads t) { train(with().with_transport(std::move(t)).with_exchange(scatter_gather{})); });
}
