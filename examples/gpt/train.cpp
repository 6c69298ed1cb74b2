// SPDX-License-Identifier: Apache-2.0
#include "train.hpp"

#include "clock.hpp"
#include "saved_run.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace gpt {

namespace {

// Steps between two readings of the loss. Each reading waits for a device.
constexpr int steps_per_reading = 20;

// Every worker takes every K-th window. The sums are added in rank order, so all workers get the same bits.
double validation_loss(std::vector<chunk> const& windows, endpoint& here, learner& learner, int batch_size) {
  std::size_t const t = static_cast<std::size_t>(learner.shape().context);
  std::size_t const stride = static_cast<std::size_t>(here.size()),
                    rows = static_cast<std::size_t>(batch_size);
  bytes tokens, targets;
  double count = 0;
  auto const flush = [&] {
    if (tokens.empty()) return;
    learner.validate(tokens, targets);
    count += static_cast<double>(tokens.size());
    tokens.clear();
    targets.clear();
  };
  for (std::size_t i = static_cast<std::size_t>(here.rank()); i < windows.size(); i += stride) {
    tokens.insert(tokens.end(), windows[i].begin(), windows[i].begin() + static_cast<std::ptrdiff_t>(t));
    targets.insert(targets.end(), windows[i].begin() + 1,
                   windows[i].begin() + static_cast<std::ptrdiff_t>(t) + 1);
    if (tokens.size() == rows * t) flush();
  }
  flush();
  double all_loss = 0, all_count = 0;
  for (auto const& row : here.gather({learner.take_validation_loss(), count})) {
    all_loss += row[0];
    all_count += row[1];
  }
  return all_loss / all_count;
}

// One worker: its model, its trainer, its part of the text.
class shift {
 public:
  shift(options const& o, method how, split const& data, endpoint& here, learner& learner)
      : options_(o),
        data_(data),
        here_(here),
        learner_(learner),
        how_(how),
        trainer_(here.make_trainer(o, how, learner)),
        gradients_(learner.gradients()),
        batch_(o.batch, o.shape.context),
        windows_(validation_windows(data.validation, o.shape.context,
                                    static_cast<std::size_t>(o.validation_bytes / o.shape.context))) {}

  void step(int number, bool round_follows) {
    double const before = learner_.work_seconds();
    learner_.clear_gradients();
    if (how_ == method::warm_up) {
      for (int w = 0; w < options_.workers; ++w) learn(number, w, 1.0 / options_.workers);
    } else {
      learn(number, here_.rank(), 1.0);
    }
    float const scale = learner_.gradient_scale(static_cast<double>(options_.clip));
    // the round would wait too; this separates its time from that of the gradients
    if (round_follows) learner_.wait();
    double const after = learner_.work_seconds();
    trainer_->step(gradients_, scale);
    double const end = learner_.work_seconds();
    compute_ += after - before;
    (round_follows ? round_ : compute_) += end - after;
  }

  // The mean loss of each batch before its step, summed over the steps since the last call.
  double take_loss() { return learner_.take_training_loss(); }

  void sync() {
    double const before = learner_.work_seconds();
    trainer_->sync();
    round_ += learner_.work_seconds() - before;
  }

  // Collective. Right after a round of the whole model all workers hold the anchor. Under streaming each validates
  // its own parameters until the end.
  point measure(int step, double training_loss, double seconds) {
    auto const rows = here_.gather({training_loss, sent_bytes(), seconds});
    point p{step, static_cast<double>(step) * static_cast<double>(options_.tokens_per_step()), 0, 0, 0, 0};
    for (auto const& row : rows) {
      p.training_loss += row[0] / static_cast<double>(rows.size());
      p.bytes_per_worker = std::max(p.bytes_per_worker, row[1]);
      p.seconds = std::max(p.seconds, row[2]);
    }
    p.validation_loss = validation_loss(windows_, here_, learner_, options_.batch);
    return p;
  }

  cost total(point const& last) {
    cost c{last.seconds,
           last.bytes_per_worker,
           static_cast<double>(trainer_->peak_bytes()),
           0,
           0,
           static_cast<double>(trainer_->rounds())};
    auto const rows = here_.gather({compute_, round_});
    for (auto const& row : rows) {
      c.compute_seconds += row[0] / static_cast<double>(rows.size());
      c.round_seconds += row[1] / static_cast<double>(rows.size());
    }
    return c;
  }

  void save(std::string const& folder, saved_run state) {
    state.compute_seconds = compute_, state.round_seconds = round_, state.sent_bytes = sent_bytes();
    trainer_->save(folder, state.numbers());
  }

  // The step to go on after, or 0 if the folder holds no snapshot.
  int resume(std::string const& folder, saved_run& state) {
    found_snapshot const found = trainer_->resume(folder);
    for (std::string const& sentence : found.passed_over) std::printf("%s\n", sentence.c_str());
    if (found.step == 0) return 0;
    auto const settings = state.settings;
    state = saved_run::of(found.numbers);
    if (state.settings != settings)
      throw bad_input("--resume " + folder + ": was saved with another text, seed, batch or other settings");
    compute_ = state.compute_seconds, round_ = state.round_seconds;
    sent_before_ = state.sent_bytes - static_cast<double>(trainer_->sent_bytes());
    return found.step;
  }

  std::string describe() const { return trainer_->describe(); }
  // Whether the schedule sends or lands something after this step.
  bool round_after(int step) const {
    return how_ == method::data_parallel ||
           !options_.rounds().after(static_cast<std::uint64_t>(step)).empty();
  }
  // Whether workers still hold steps of their own after this one.
  bool is_between_rounds(int step) const {
    return how_ == method::diloco && (options_.schedule == "streaming" || step % options_.every != 0);
  }

 private:
  double sent_bytes() const { return sent_before_ + static_cast<double>(trainer_->sent_bytes()); }
  void learn(int step, int worker, double weight) {
    draw(batch_, data_.shards[static_cast<std::size_t>(worker)], options_.shape.context,
         random_stream(options_.seed, static_cast<int>(how_ == method::warm_up), step, worker));
    learner_.learn(batch_.tokens, batch_.targets, weight);
  }

  options const& options_;
  split const& data_;
  endpoint& here_;
  learner& learner_;
  method how_;
  std::unique_ptr<trainer> trainer_;
  std::vector<std::span<float const>> gradients_;
  batch batch_;
  std::vector<chunk> windows_;
  double compute_ = 0, round_ = 0;
  double sent_before_ = 0;  // by the processes before this one
};

}  // namespace

run train(options const& o, method how, split const& data, endpoint& here, learner& learner, progress& bar) {
  int const steps = how == method::warm_up ? o.warm_up_steps : o.steps;
  int const per_round = how == method::diloco ? o.every : 1;
  int const rounds_per_point = (o.evaluate_every + per_round - 1) / per_round;
  int const steps_per_point = rounds_per_point * per_round;
  shift mine(o, how, data, here, learner);
  run result{how == method::diloco          ? "diloco"
             : how == method::data_parallel ? "data-parallel"
                                            : "warm-up",
             mine.describe(),
             {},
             {},
             static_cast<double>(steps) * static_cast<double>(o.tokens_per_step())};
  std::string const folder = "/" + result.name;
  bool const saves = how != method::warm_up && !o.save.empty();
  bool const resumes = how != method::warm_up && !o.resume.empty();
  saved_run now;
  if (saves || resumes) now.settings = digest_of_settings(o, data);
  int const first = resumes ? mine.resume(o.resume + folder, now) : 0;
  if (first == 0) now.points.push_back(mine.measure(0, 0, 0));
  if (first != 0) {
    bar.begin_after(first);
    if (here.rank() == 0) std::printf("%s goes on after step %d\n", result.name.c_str(), first);
  }
  for (int step = first + 1; step <= steps; ++step) {
    double const before = wall_seconds();
    bool const last = step == steps, round = how != method::warm_up && mine.round_after(step);
    mine.step(step, round);
    if (last && mine.is_between_rounds(step)) mine.sync();
    bool const point = last || step % steps_per_point == 0;
    bool const snapshot = saves && (last || step % o.save_every == 0);
    if (point || snapshot || step == 1 || step % steps_per_reading == 0) {
      double const loss = mine.take_loss();
      now.loss_sum += loss;
      now.shown_loss = loss / (step - std::exchange(now.read, step));
    }
    now.seconds += wall_seconds() - before;
    bar.update(step, now.shown_loss);
    ++now.since;
    if (point) {
      now.points.push_back(mine.measure(step, now.loss_sum / now.since, now.seconds));
      now.loss_sum = now.since = 0;
    }
    if (snapshot) mine.save(o.save + folder, now);
  }
  bar.finish(now.shown_loss);
  result.points = std::move(now.points);
  result.spent = mine.total(result.points.back());
  return result;
}

}  // namespace gpt
