// SPDX-License-Identifier: Apache-2.0
// Checks what --device cuda does, without a GPU. The model's memory cannot be read by the host, and work runs
// only when the host waits. The recipe clips the gradients, and the transport is chosen at run time.
// The run must learn what a run over the host's layers learns.
#include "eigen_products.hpp"
#include "host_learner.hpp"
#include "kernel_learner.hpp"
#include "train.hpp"
#include "trainers.hpp"

#include "support/lazy_device.hpp"

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
  o.clip = 0.05f;  // less than the norm of most gradients
  return o;
}

// The products run in enqueued order, as those of cuBLAS do.
struct enqueued_products {
  struct call {
    product p;
    void operator()(diloco::solo, std::size_t) const { eigen_products{}.multiply(diloco::cpp{}, p); }
  };
  template <class Executor>
  void multiply(Executor const& where, product const& p) const {
    where.for_each(1, call{p});
  }
};
using device_kernels = kernel_learner<lazy_device, enqueued_products>;

class any_endpoint final : public endpoint {
 public:
  any_endpoint(diloco::threads training, diloco::threads report)
      : training_(std::move(training)), report_(std::move(report)) {}
  int rank() const override { return report_.rank(); }
  int size() const override { return report_.size(); }
  std::unique_ptr<trainer> make_trainer(options const& o, method, learner& learner) override {
    if (auto* const kernels = dynamic_cast<device_kernels*>(&learner))
      return make(o, placement<lazy_device>{kernels->executor(), o.clip}, learner);
    return make(o, placement<diloco::cpp>{}, learner);
  }
  std::vector<std::vector<double>> gather(std::vector<double> const& mine) override {
    return gather_rows(report_, mine, 60);
  }

 private:
  template <class Executor>
  std::unique_ptr<trainer> make(options const& o, placement<Executor> const& where, learner& learner) {
    return build(diloco_recipe(o, where).with_compressor(diloco::absmax<4>{}), std::move(training_), learner);
  }
  any_transport training_, report_;
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
run compete(options const& o, Make&& make) {
  text const t(o);
  model<float> start(o.shape, o.batch, o.seed);
  diloco::threads_world report(workers);
  run result;
  diloco::run_threads(workers, [&](diloco::threads transport) {
    int const rank = transport.rank();
    auto const mine = make(start);
    progress bar("", o.steps, 1, display::nothing);
    any_endpoint here(std::move(transport), report.transport(rank));
    run numbers = train(o, method::diloco, t.parts, here, *mine, bar);
    if (rank == 0) result = std::move(numbers);
  });
  return result;
}

}  // namespace

TEST_CASE("a run on a device learns what a run over the host's layers does") {
  options const o = small();
  run const host = compete(
      o, [&](model<float>& start) { return std::make_unique<host_learner>(o.shape, o.batch, start); });
  run const device = compete(o, [&](model<float>& start) {
    return std::make_unique<device_kernels>(lazy_device{}, enqueued_products{}, o.shape, o.batch,
                                            tensors_of(start));
  });
  REQUIRE(device.points.size() == host.points.size());
  for (std::size_t i = 0; i < host.points.size(); ++i) {
    CHECK(device.points[i].training_loss == doctest::Approx(host.points[i].training_loss).epsilon(1e-3));
    CHECK(device.points[i].validation_loss == doctest::Approx(host.points[i].validation_loss).epsilon(1e-3));
    CHECK(device.points[i].bytes_per_worker == host.points[i].bytes_per_worker);
  }
  CHECK(host.points.back().validation_loss < host.points.front().validation_loss - 0.05);
  CHECK(device.spent.rounds == 6);
}

TEST_CASE(
    "batches run ahead of the device: nobody waits for a gradient, and the loss is that of all of them") {
  options const o = small();
  text const t(o);
  model<float> start(o.shape, o.batch, o.seed);
  device_kernels device({}, {}, o.shape, o.batch, tensors_of(start));
  host_learner host(o.shape, o.batch, start);
  batch drawn(o.batch, o.shape.context);
  int const before = device.executor().waits();
  for (int i = 0; i < 60; ++i) {
    draw(drawn, t.parts.shards[0], o.shape.context, random_stream(1, i));
    for (learner* each : {static_cast<learner*>(&device), static_cast<learner*>(&host)}) {
      each->clear_gradients();
      each->learn(drawn.tokens, drawn.targets, 1.0);
    }
  }
  CHECK(device.executor().waits() == before);
  CHECK(device.take_training_loss() == doctest::Approx(host.take_training_loss()).epsilon(1e-6));
  CHECK(device.executor().waits() == before + 1);
  auto const expected = host.predict(chunk(drawn.tokens).first(7)),
             found = device.predict(chunk(drawn.tokens).first(7));
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));
}
