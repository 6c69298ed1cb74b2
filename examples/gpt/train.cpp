// SPDX-License-Identifier: Apache-2.0
#include "train.hpp"

#include "matrix.hpp"
#include "tensors.hpp"

#include <algorithm>
#include <cmath>

#include <time.h>

namespace gpt {

namespace {

double clock_seconds(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
double wall_seconds() { return clock_seconds(CLOCK_MONOTONIC); }
double processor_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

double norm(std::vector<std::span<float const>> const& gradients) {
  double sum = 0;
  for (auto const& g : gradients)
    sum += static_cast<double>(const_row_view<float>(g.data(), std::ssize(g)).square().sum());
  return std::sqrt(sum);
}

// Every worker takes every K-th of the windows; the sums meet in rank order, so the result has the same bits on all.
double validation_loss(std::vector<chunk> const& windows, endpoint& here, model<float>& model, int batch_size) {
  std::size_t const t = static_cast<std::size_t>(model.shape().context);
  std::size_t const stride = static_cast<std::size_t>(here.size()), rows = static_cast<std::size_t>(batch_size);
  bytes tokens, targets;
  double loss = 0, count = 0;
  auto const flush = [&] {
    if (tokens.empty()) return;
    loss += model.forward(tokens, targets, model.shape().context);
    count += static_cast<double>(tokens.size());
    tokens.clear();
    targets.clear();
  };
  for (std::size_t i = static_cast<std::size_t>(here.rank()); i < windows.size(); i += stride) {
    tokens.insert(tokens.end(), windows[i].begin(), windows[i].begin() + static_cast<std::ptrdiff_t>(t));
    targets.insert(targets.end(), windows[i].begin() + 1, windows[i].begin() + static_cast<std::ptrdiff_t>(t) + 1);
    if (tokens.size() == rows * t) flush();
  }
  flush();
  double all_loss = 0, all_count = 0;
  for (auto const& row : here.gather({loss, count})) {
    all_loss += row[0];
    all_count += row[1];
  }
  return all_loss / all_count;
}

// One worker at work: its model, its trainer, its part of the text.
class shift {
 public:
  shift(options const& o, method how, split const& data, endpoint& here, model<float>& model)
      : options_(o),
        data_(data),
        here_(here),
        model_(model),
        how_(how),
        trainer_(here.make_trainer(o, how, model)),
        gradients_(gradients_of(model)),
        batch_(o.batch, o.shape.context),
        windows_(validation_windows(data.validation, o.shape.context,
                                    static_cast<std::size_t>(o.validation_bytes / o.shape.context))) {}

  // The mean loss of the batch, before the step.
  double step(int number) {
    double const before = processor_seconds();
    double const loss = how_ == method::warm_up ? all_batches(number) : own_batch(number);
    double const length = norm(gradients_), most = static_cast<double>(options_.clip);
    double const after = processor_seconds();
    std::uint64_t const rounds = trainer_->rounds();
    trainer_->step(gradients_, static_cast<float>(length > most ? most / length : 1.0));
    double const end = processor_seconds();
    compute_ += after - before;
    (trainer_->rounds() == rounds ? compute_ : round_) += end - after;
    return loss;
  }

  void sync() {
    double const before = processor_seconds();
    trainer_->sync();
    round_ += processor_seconds() - before;
  }

  // Collective, and only right after a round, where all workers hold the anchor.
  point measure(int step, double training_loss, double seconds) {
    auto const rows = here_.gather({training_loss, static_cast<double>(trainer_->sent_bytes()), seconds});
    point p{step, static_cast<double>(step) * static_cast<double>(options_.tokens_per_step()), 0, 0, 0, 0};
    for (auto const& row : rows) {
      p.training_loss += row[0] / static_cast<double>(rows.size());
      p.bytes_per_worker = std::max(p.bytes_per_worker, row[1]);
      p.seconds = std::max(p.seconds, row[2]);
    }
    p.validation_loss = validation_loss(windows_, here_, model_, options_.batch);
    return p;
  }

  cost total(point const& last) {
    cost c{last.seconds, last.bytes_per_worker, 0, 0, static_cast<double>(trainer_->rounds())};
    auto const rows = here_.gather({compute_, round_});
    for (auto const& row : rows) {
      c.compute_seconds += row[0] / static_cast<double>(rows.size());
      c.round_seconds += row[1] / static_cast<double>(rows.size());
    }
    return c;
  }

  std::string describe() const { return trainer_->describe(); }
  std::uint64_t rounds() const { return trainer_->rounds(); }

 private:
  double forward_backward(std::vector<chunk> const& shard, int step, int worker, double weight) {
    draw(batch_, shard, options_.shape.context,
         random_stream(options_.seed, static_cast<int>(how_ == method::warm_up), step, worker));
    double const loss = model_.forward(batch_.tokens, batch_.targets, options_.shape.context);
    double const count = static_cast<double>(batch_.tokens.size());
    model_.backward(batch_.tokens, batch_.targets, options_.shape.context, static_cast<float>(weight / count));
    return weight * loss / count;
  }

  double own_batch(int step) {
    model_.clear_gradients();
    return forward_backward(data_.shards[static_cast<std::size_t>(here_.rank())], step, here_.rank(), 1.0);
  }

  double all_batches(int step) {
    model_.clear_gradients();
    double loss = 0;
    for (int w = 0; w < options_.workers; ++w)
      loss += forward_backward(data_.shards[static_cast<std::size_t>(w)], step, w, 1.0 / options_.workers);
    return loss;
  }

  options const& options_;
  split const& data_;
  endpoint& here_;
  model<float>& model_;
  method how_;
  std::unique_ptr<trainer> trainer_;
  std::vector<std::span<float const>> gradients_;
  batch batch_;
  std::vector<chunk> windows_;
  double compute_ = 0, round_ = 0;
};

}  // namespace

run train(options const& o, method how, split const& data, endpoint& here, model<float>& model, progress& bar) {
  int const steps = how == method::warm_up ? o.warm_up_steps : o.steps;
  int const per_round = how == method::diloco ? o.every : 1;
  int const rounds_per_point = (o.evaluate_every + per_round - 1) / per_round;
  int const steps_per_point = rounds_per_point * per_round;
  shift mine(o, how, data, here, model);
  run result{how == method::diloco          ? "diloco"
             : how == method::data_parallel ? "data-parallel"
                                            : "warm-up",
             mine.describe(),
             {},
             {},
             static_cast<double>(steps) * static_cast<double>(o.tokens_per_step())};
  result.points.push_back(mine.measure(0, 0, 0));
  double seconds = 0, loss_sum = 0, shown = 0;
  int since = 0;
  for (int step = 1; step <= steps; ++step) {
    double const before = wall_seconds();
    double const loss = mine.step(step);
    bool const last = step == steps;
    if (last && how != method::warm_up && step % per_round != 0) mine.sync();
    seconds += wall_seconds() - before;
    loss_sum += loss;
    ++since;
    shown = step == 1 ? loss : 0.95 * shown + 0.05 * loss;
    bar.update(step, shown);
    if (!last && step % steps_per_point != 0) continue;
    result.points.push_back(mine.measure(step, loss_sum / since, seconds));
    loss_sum = since = 0;
  }
  bar.finish(shown);
  result.spent = mine.total(result.points.back());
  return result;
}

}  // namespace gpt
