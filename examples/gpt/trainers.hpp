// SPDX-License-Identifier: Apache-2.0
// Turns the flags into a type. Each method is one diloco recipe. Included once per transport.
#pragma once

#include "bad_input.hpp"
#include "choice.hpp"
#include "device.hpp"
#include "endpoint.hpp"
#include "schedule.hpp"

#include <diloco/diloco.hpp>
#include <diloco/snapshot.hpp>

#include <algorithm>
#include <cstring>
#include <variant>

namespace gpt {

template <class DiLoCo>
class trainer_of final : public trainer {
 public:
  using traffic = std::shared_ptr<
      typename std::remove_cvref_t<decltype(std::declval<DiLoCo&>().transport())>::traffic const>;

  trainer_of(typename DiLoCo::recipe_type recipe, learner& learner)
      : traffic_(recipe.transport.counts()), diloco_(std::move(recipe), learner.tensors()) {}

  void step(std::vector<std::span<float const>> const& gradients, float grad_scale) override {
    diloco_.step(gradients, {.grad_scale = grad_scale});
  }
  void sync() override { diloco_.sync(); }
  void save(std::string const& folder, std::vector<double> const& numbers) override {
    diloco::save(diloco_, folder, {.user = std::as_bytes(std::span(numbers))});
  }
  found_snapshot resume(std::string const& folder) override {
    diloco::resumed found = diloco::resume(diloco_, folder, {.may_be_empty = true});
    std::vector<double> numbers(found.user.size() / sizeof(double));
    if (!numbers.empty()) std::memcpy(numbers.data(), found.user.data(), numbers.size() * sizeof(double));
    return {static_cast<int>(found.steps), std::move(numbers), std::move(found.passed_over)};
  }
  std::uint64_t rounds() const override { return diloco_.rounds(); }
  std::uint64_t peak_bytes() const override { return diloco_.wire_bytes_at_once(); }
  std::uint64_t sent_bytes() const override { return traffic_->sent_bytes; }
  std::string describe() const override { return diloco_.describe(); }

 private:
  traffic traffic_;
  DiLoCo diloco_;
};

template <class Recipe, class Transport>
std::unique_ptr<trainer> build(Recipe recipe, Transport transport, learner& learner) {
  auto complete = std::move(recipe).with_transport(diloco::counted<Transport>(std::move(transport)));
  using engine = decltype(diloco::DiLoCo(std::move(complete), learner.tensors()));
  return std::make_unique<trainer_of<engine>>(std::move(complete), learner);
}

// The executor of the sweeps, and whether the trainer clips the gradients.
template <class Executor>
struct placement {
  Executor executor;
  float clip_norm = diloco::no_clipping;
};

inline scheduled<diloco::adamw> adamw_of(options const& o, int steps) {
  return {o.inner, std::min(o.ramp_steps, steps), steps, o.final_lr};
}

inline scheduled<diloco::adamw> warm_up_adamw(options const& o) {
  auto inner = adamw_of(o, std::max(o.warm_up_steps, 1));
  inner.optimizer.lr = o.warm_up_lr;
  inner.final_share = 1.0f;  // constant, because the runs continue from here
  return inner;
}

// One worker, no rounds. Only its parameters are kept; the later runs start with fresh moments.
template <class Transport>
std::unique_ptr<trainer> warm_up_trainer(options const& o, Transport transport, learner& learner) {
  return build(diloco::recipe<>{}.with_inner(warm_up_adamw(o)).with_schedule(diloco::manual{}),
               std::move(transport), learner);
}

// Each step sends the gradient. The outer AdamW steps θ by its mean over the workers.
template <class Executor, class Transport>
std::unique_ptr<trainer> data_parallel_trainer(options const& o, placement<Executor> const& where,
                                               Transport transport, learner& learner) {
  return build(diloco::recipe<>{}
                   .with_signal(diloco::gradient{})
                   .with_inner(diloco::none{})
                   .with_outer(adamw_of(o, o.steps))
                   .with_exchange(exchange_named(o.exchange))
                   .with_schedule(diloco::every(1))
                   .with_executor(where.executor)
                   .with_clip_norm(where.clip_norm)
                   .with_deadline_seconds(o.deadline_seconds),
               std::move(transport), learner);
}

template <class Executor>
auto diloco_recipe(options const& o, placement<Executor> const& where) {
  return diloco::recipe<>{}
      .with_inner(adamw_of(o, o.steps))
      .with_outer(o.outer)
      .with_feedback(o.feedback)
      .with_exchange(exchange_named(o.exchange))
      .with_schedule(o.rounds())
      .with_executor(where.executor)
      .with_clip_norm(where.clip_norm)
      .with_deadline_seconds(o.deadline_seconds);
}

template <class Executor, class Transport>
std::unique_ptr<trainer> diloco_trainer(options const& o, placement<Executor> const& where,
                                        Transport transport, learner& learner) {
  return std::visit(
      [&](auto compressor) {
        return build(diloco_recipe(o, where).with_compressor(compressor), std::move(transport), learner);
      },
      compressor_named(o.compressor));
}

// The rows of all ranks, through an exchange of the transport itself.
template <class Transport>
std::vector<std::vector<double>> gather_rows(Transport& transport, std::vector<double> const& mine,
                                             double seconds) {
  std::size_t const row_bytes = mine.size() * sizeof(double),
                    ranks = static_cast<std::size_t>(transport.size());
  diloco::cpp const memory;
  diloco::wires wires{memory.allocate(row_bytes),
                      Transport::receives_in_place ? diloco::buffer{} : memory.allocate(row_bytes * ranks)};
  std::memcpy(wires.send.data(), mine.data(), row_bytes);
  auto pending = transport.all_gather(std::move(wires), diloco::exchange_tag{});
  auto arrived = pending.wait(diloco::deadline_after(seconds)).value();
  std::vector<std::vector<double>> rows(ranks, std::vector<double>(mine.size()));
  for (std::size_t rank = 0; rank < ranks; ++rank)
    std::memcpy(rows[rank].data(), arrived.message(static_cast<int>(rank)).data(), row_bytes);
  arrived.done();
  std::move(arrived).reclaim(diloco::deadline_after(seconds)).value();
  return rows;
}

template <class Transport>
class endpoint_of final : public endpoint {
 public:
  // Two transports over the same workers, so that traffic of the report and of the training is counted
  // separately.
  endpoint_of(Transport for_training, Transport for_report)
      : training_(std::move(for_training)), report_(std::move(for_report)) {}

  int rank() const override { return report_.rank(); }
  int size() const override { return report_.size(); }

  std::unique_ptr<trainer> make_trainer(options const& o, method how, learner& learner) override {
    deadline_seconds_ = o.deadline_seconds;
    if (o.device == "cuda") return device_trainer(o, how, learner, any_transport(std::move(training_)));
    if constexpr (std::is_same_v<Transport, diloco::alone>) {
      return warm_up_trainer(o, training_, learner);
    } else {
      placement<chosen_executor> const where{executor_named(o.executor)};
      return how == method::data_parallel ? data_parallel_trainer(o, where, std::move(training_), learner)
                                          : diloco_trainer(o, where, std::move(training_), learner);
    }
  }

  std::vector<std::vector<double>> gather(std::vector<double> const& mine) override {
    return gather_rows(report_, mine, deadline_seconds_);
  }

 private:
  Transport training_, report_;
  double deadline_seconds_ = 60;
};

}  // namespace gpt
