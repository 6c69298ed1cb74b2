// SPDX-License-Identifier: Apache-2.0
// What --device cuda does, but on the host: runs over kernels, of which the recipe clips the gradients, over a transport
// picked at run time. They learn what the runs over the host's layers learn.
#include "eigen_products.hpp"
#include "host_learner.hpp"
#include "kernel_learner.hpp"
#include "train.hpp"
#include "trainers.hpp"

#include <doctest/doctest.h>

namespace {

using namespace gpt;

constexpr int workers = 2;

options small() {
  options o;
  o.workers = workers;
  o.every = 5;
  o.steps = 30;
  o.batch = 2;
  o.shape = {.context = 12, .layers = 1, .heads = 2, .width = 8};
  o.evaluate_every = 10;
  o.validation_bytes = 240;
  o.clip = 0.05f;  // shorter than most gradients are
  return o;
}

class any_endpoint final : public endpoint {
 public:
  any_endpoint(diloco::threads training, diloco::threads report, float clip)
      : training_(std::move(training)), report_(std::move(report)), clip_(clip) {}
  int rank() const override { return report_.rank(); }
  int size() const override { return report_.size(); }
  std::unique_ptr<trainer> make_trainer(options const& o, method how, learner& learner) override {
    placement<diloco::cpp> const where{{}, clip_};
    if (how == method::data_parallel) return data_parallel_trainer(o, where, std::move(training_), learner);
    return build(diloco_recipe(o, where).with_compressor(diloco::absmax<4>{}), std::move(training_), learner);
  }
  std::vector<std::vector<double>> gather(std::vector<double> const& mine) override {
    return gather_rows(report_, mine, 60);
  }

 private:
  any_transport training_, report_;
  float clip_;
};

struct text {
  bytes all;
  split parts;
  explicit text(options const& o) {
    random_stream random(5);
    for (std::uint8_t b = 0; all.size() < 40000; all.push_back(b))
      b = static_cast<std::uint8_t>((b + random.below(3)) % 32);
    parts = split_text(all, "text", o.workers, o.shape.context);
  }
};

template <class Make>
run compete(options const& o, method how, float clip, Make&& make) {
  text const t(o);
  model<float> start(o.shape, o.batch, o.seed);
  diloco::threads_world report(workers);
  run result;
  diloco::run_threads(workers, [&](diloco::threads transport) {
    int const rank = transport.rank();
    auto const mine = make(start);
    progress bar("", o.steps, 1, display::nothing);
    any_endpoint here(std::move(transport), report.transport(rank), clip);
    run numbers = train(o, how, t.parts, here, *mine, bar);
    if (rank == 0) result = std::move(numbers);
  });
  return result;
}

}  // namespace

TEST_CASE("a run over kernels learns what a run over the host's layers does") {
  options const o = small();
  for (method how : {method::data_parallel, method::diloco}) {
    run const host = compete(o, how, diloco::no_clipping, [&](model<float>& start) {
      return std::make_unique<host_learner>(o.shape, o.batch, start);
    });
    run const kernels = compete(o, how, o.clip, [&](model<float>& start) {
      using learner = kernel_learner<diloco::cpp, eigen_products>;
      return std::make_unique<learner>(diloco::cpp{}, eigen_products{}, o.shape, o.batch, tensors_of(start));
    });
    REQUIRE(kernels.points.size() == host.points.size());
    for (std::size_t i = 0; i < host.points.size(); ++i) {
      CHECK(kernels.points[i].training_loss == doctest::Approx(host.points[i].training_loss).epsilon(1e-3));
      CHECK(kernels.points[i].validation_loss == doctest::Approx(host.points[i].validation_loss).epsilon(1e-3));
      CHECK(kernels.points[i].bytes_per_worker == host.points[i].bytes_per_worker);
    }
    CHECK(host.points.back().validation_loss < host.points.front().validation_loss - 0.05);
    CHECK(kernels.spent.rounds == (how == method::diloco ? 6 : 30));
  }
}
