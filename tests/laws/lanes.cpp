// SPDX-License-Identifier: Apache-2.0
// The same source runs on one thread and on 32 lanes. Whole rounds with every compressor and feedback must
// give the same bits and send the same bytes on both.
// The lanes are threads here. tests/cuda/round.cu checks the same on a device.
#include "staged.hpp"
#include "support/thread_lanes.hpp"
#include "support/toy.hpp"

#include <algorithm>
#include <limits>

namespace {

using namespace laws;
using namespace diloco;

std::size_t const sizes[] = {1, 33, 100, 512, 4096, 4500};

struct outcome {
  std::vector<std::uint64_t> digests;
  std::vector<float> residual;
  bool operator==(outcome const&) const = default;
};

template <class C, class F, class Executor>
outcome rounds() {
  outcome o;
  std::vector<std::vector<float>> theta;
  std::vector<tensor> tensors;
  for (std::size_t n : sizes) theta.push_back(numbers(n).many(n, 1e-2f));
  for (std::size_t t = 0; t < theta.size(); ++t) {
    std::size_t const n = theta[t].size(), rows = n % 50 == 0 ? 50 : 1;
    tensors.push_back({std::to_string(n), {rows, n / rows}, theta[t].data()});
  }
  // Scatter–gather in a world of one, so both encoders and both decoders run.
  DiLoCo<external, nesterov, C, alone, F, weighted_mean, scatter_gather, manual, Executor, silent> trainer(
      {}, tensors);
  for (int round = 0; round < 2; ++round) {
    for (auto& values : theta) {
      auto const delta = numbers(values.size() + std::size_t(round) + 7).many(values.size(), 1e-3f);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] -= delta[i];
    }
    trainer.after_step();
    trainer.sync();
    o.digests.push_back(trainer.digest());
  }
  for (std::size_t n : sizes) {
    auto const e = toy::cell_or_none(trainer, std::to_string(n), "residual");
    o.residual.insert(o.residual.end(), e.begin(), e.end());
  }
  return o;
}

template <class C, class F>
struct pair {
  using compressor = C;
  using feedback = F;
};

TEST_CASE_TEMPLATE_DEFINE("32 lanes give one thread's bits", P, lanes_laws) {
  using C = typename P::compressor;
  using F = typename P::feedback;
  CHECK(rounds<C, F, lane_threads>() == rounds<C, F, cpp>());
}
using exact = error_feedback;
TEST_CASE_TEMPLATE_INVOKE(lanes_laws, pair<f32, exact>, pair<scaled_f16<>, exact>, pair<absmax<4>, exact>,
                          pair<absmax<8, 96>, averaged_error>, pair<absmax<2>, no_feedback>,
                          pair<min_max<4>, ef21>, pair<e4m3<>, exact>, pair<e2m1<>, exact>,
                          pair<e3m0<>, exact>);
TEST_CASE_TEMPLATE_INVOKE(lanes_laws, pair<mxfp8, exact>, pair<mxfp6, exact>, pair<nvfp4, exact>,
                          pair<lloyd_max<3>, exact>, pair<dynamic8<>, exact>, pair<sign<>, exact>,
                          pair<sign<512, sign_scale::two_means>, exact>);
using rotated = hadamard<64, absmax<4, 128>>;
using stochastic = natural<natural_rounding::stochastic>;
using by_length = qsgd<8, 128, qsgd_norm::l2>;
using few_a_lane = qsgd<8, 64>;
TEST_CASE_TEMPLATE_INVOKE(lanes_laws, pair<stochastic, exact>, pair<qsgd<4>, exact>, pair<by_length, exact>,
                          pair<few_a_lane, exact>, pair<rotated, exact>);
using halves = top_k<64, kept_as::f16>;
using symmetric = statistical<4, buckets::symmetric>;
TEST_CASE_TEMPLATE_INVOKE(lanes_laws, pair<top_k<64>, exact>, pair<halves, averaged_error>,
                          pair<dct_top_k<32>, exact>, pair<random_k<64>, mean_error_feedback>,
                          pair<statistical<16>, exact>, pair<statistical<256>, ef21>, pair<symmetric, exact>,
                          pair<low_rank<2>, exact>, pair<low_rank<2, factors::common>, mean_error_feedback>);

TEST_CASE("32 lanes agree on one thread's memory, from what was said and from nothing") {
  staged_wire<low_rank<3, factors::common>> one{{{40, 33}, {7, 100}}}, many{one.shapes};
  for (auto& v : one.values) v = numbers(3).many(v.size());
  for (std::uint64_t round = 0; round < 4; ++round) {
    if (round == 2) {
      for (auto& v : one.values) std::fill(v.begin(), v.end(), 0.0f);
    }
    CHECK(one.encode(round) == message_header::no_row);
    std::copy(one.payload().begin(), one.payload().end(), many.payload().begin());
    one.commit(round);
    many.commit<lane_threads>(round);
    CHECK(one.memory == many.memory);
  }
}

TEST_CASE("32 lanes find what is not finite wherever it lies, in blocks and in chunks") {
  auto const accepted = [](auto compressor) {
    int count = 0;
    for (std::size_t where : {0, 1, 31, 255, 2049, 4088, 4095}) {
      std::vector<float> theta(4096);
      DiLoCo<external, nesterov, decltype(compressor), alone, exact, weighted_mean, gather, manual,
             lane_threads, silent>
          trainer({}, one_tensor(theta));
      theta[where] = std::numeric_limits<float>::quiet_NaN();
      trainer.after_step();
      count += trainer.try_sync() ? 1 : 0;
    }
    return count;
  };
  CHECK(accepted(absmax<4>{}) == 0);
  CHECK(accepted(top_k<64>{}) == 0);
}

}  // namespace
