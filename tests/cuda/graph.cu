// SPDX-License-Identifier: Apache-2.0
// An inner step and both sweeps, captured in a CUDA graph and replayed, give the bits of the same calls
// without one. What cannot be captured reports it.
// Checks are light: at the default level, a step waits for the verdict on its gradients.
#define DILOCO_CHECKS 1
#include "support/cuda_test_stream.hpp"
#include "support/placed.hpp"

#include <diloco/diloco.hpp>
#include <diloco/executor/cuda.cuh>

#include <doctest/doctest.h>

using namespace diloco;

namespace {

/// One graph, captured again for each call and updated in place. Numbers that change with the step are kernel
/// arguments.
class replayed {
 public:
  explicit replayed(cudaStream_t on) : on_(on) {}
  ~replayed() {
    if (exec_ != nullptr) cudaGraphExecDestroy(exec_);
  }
  replayed(replayed const&) = delete;
  replayed& operator=(replayed const&) = delete;
  template <class F>
  void operator()(F&& enqueue) {
    cudaGraph_t graph = nullptr;
    REQUIRE(cudaStreamBeginCapture(on_, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    enqueue();
    REQUIRE(cudaStreamEndCapture(on_, &graph) == cudaSuccess);
    if (exec_ == nullptr) {
      REQUIRE(cudaGraphInstantiate(&exec_, graph, 0) == cudaSuccess);
    } else {
      cudaGraphExecUpdateResultInfo why{};
      REQUIRE(cudaGraphExecUpdate(exec_, graph, &why) == cudaSuccess);
    }
    REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
    REQUIRE(cudaGraphLaunch(exec_, on_) == cudaSuccess);
  }

 private:
  cudaStream_t on_;
  cudaGraphExec_t exec_ = nullptr;
};

std::vector<std::size_t> const sizes{1, 255, 4097, 9000};

std::vector<float> taken(cuda_stream where, tensor const& t) {
  std::vector<float> v(t.size());
  where.copy_to_host(v.data(), t.data, v.size() * sizeof(float));
  where.wait();
  return v;
}

/// θ after ten steps. All but the first are captured.
template <class Inner>
std::vector<std::vector<float>> stepped(bool captured, float clip) {
  test_stream const s;
  cuda_stream const where{.stream = s.handle};
  placed<cuda_stream> p(where, sizes);
  DiLoCo<Inner, nesterov, f32, alone, error_feedback, weighted_mean, gather, manual, cuda_stream, silent> t(
      {.transport = alone{}, .executor = where, .clip_norm = clip}, p.parameters);
  replayed graph(s.handle);
  for (long step = 0; step < 10; ++step) {
    auto const& g = p.at(0, step);
    if (captured && step > 0)
      graph([&] { t.step(g, {.lr_scale = 1.0f / static_cast<float>(step)}); });
    else
      t.step(g, {.lr_scale = step == 0 ? 1.0f : 1.0f / static_cast<float>(step)});
  }
  std::vector<std::vector<float>> all;
  for (tensor const& each : p.parameters) all.push_back(taken(where, each));
  return all;
}

/// A step and both sweeps over one tensor: anchor, momentum and residual after three rounds.
template <class C, class Executor, class Run>
std::vector<float> swept(Executor where, Run&& run) {
  constexpr std::size_t n = 9001;
  placed<Executor> p(where, {n});
  layout l = *layout::of(p.parameters, C::block);
  wire_plan const plan = wire_plan::of<C>(l, 1);
  std::size_t const column = l.column_elements();
  auto const memory = [&](std::size_t bytes) { return where.allocate(bytes); };
  backend_on<Executor> const backend(where);
  lookup_table const lookup(backend, l);
  round_table const table(backend, plan, l.rows().size(), 1);
  buffer const anchor = memory(column * 4), momentum = memory(column * 4), e = memory(column * 4),
               next = memory(column * 4), wire = memory(plan.slot_bytes());
  table.host().messages[0] = wire.data();
  table.host().coefficients[0] = 1.0f;
  lookup.host().gradients[0] = p.gradients[0].data();
  lookup.host().gradient_is_bf16[0] = 0;
  lookup.upload_tensors(backend, l);
  lookup.upload_gradients(backend);
  table.upload(backend);
  table.upload_round(backend);
  where.for_each(lookup.tile_count(),
                 copy_to_anchor_kernel{lookup->tiles, lookup->theta, anchor.as<float>()});
  where.wait();
  for (int round = 0; round < 3; ++round) {
    p.at(0, round);
    run([&] {
      inner_step_kernel<plain_sgd::step, 0> inner{
          plain_sgd{.lr = 0.5f}.at(step_context{}),      1.0f, nullptr, lookup->tiles, lookup->theta,
          {lookup->gradients, lookup->gradient_is_bf16}, {},   {}};
      where.for_each(lookup.tile_count(), inner);
      where.for_each(lookup.tile_count(),
                     encode_kernel<C, error_feedback>{C{},
                                                      error_feedback{}.at(0),
                                                      lookup->tiles,
                                                      lookup->theta,
                                                      anchor.as<float>(),
                                                      {e.as<float>(), next.as<float>(), column},
                                                      wire.data(),
                                                      plan.slot_bytes(),
                                                      table->bad_row,
                                                      {static_cast<std::uint64_t>(round), 0, 0},
                                                      {}});
      auto const step = nesterov{.lr = 0.7f + 0.1f * static_cast<float>(round)}.at(step_context{});
      apply_outer_kernel<C, std::remove_const_t<decltype(step)>, 1> b{
          {C{}, table->messages, table->coefficients, 1, false},
          step,
          0.0f,
          lookup->tiles,
          lookup->theta,
          anchor.as<float>(),
          {}};
      b.slots[0] = momentum.as<float>();
      where.for_each(lookup.tile_count(), b);
    });
  }
  std::vector<float> all(3 * column);
  auto const take = [&](std::size_t at, buffer const& from) {
    if constexpr (Executor::columns_on_host)
      std::memcpy(all.data() + at * column, from.data(), column * 4);
    else
      where.copy_to_host(all.data() + at * column, from.data(), column * 4);
  };
  take(0, anchor);
  take(1, momentum);
  take(2, next);
  where.wait();
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("graph: steps that are captured are steps", Inner, adamw, lion, sgd) {
  for (float const clip : {no_clipping, 0.5f})
    CHECK(stepped<Inner>(true, clip) == stepped<Inner>(false, clip));
}

TEST_CASE_TEMPLATE("graph: sweeps that are captured are sweeps", C, f32, absmax<8>, absmax<4>, sign<>) {
  auto const plainly = [](auto&& f) { f(); };
  auto const host = swept<C>(cpp{}, plainly);
  test_stream const s;
  cuda_stream const where{.stream = s.handle};
  CHECK(swept<C>(where, plainly) == host);
  CHECK(swept<C>(where, replayed(s.handle)) == host);
}

TEST_CASE("graph: a call that waits says that it cannot be captured") {
  test_stream const s;
  cuda_stream const where{.stream = s.handle};
  placed<cuda_stream> p(where, sizes);
  DiLoCo<adamw, nesterov, f32, alone, error_feedback, weighted_mean, gather, manual, cuda_stream, silent> t(
      {.transport = alone{}, .executor = where}, p.parameters);
  t.step(p.at(0, 0));
  std::string message;
  REQUIRE(cudaStreamBeginCapture(s.handle, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  try {
    t.sync();
  } catch (exception const& e) {
    message = e.what();
  }
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(s.handle, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  CHECK(message.starts_with(
      "diloco: cuda: this call waits for the stream, which is being captured in a graph; "));
}
