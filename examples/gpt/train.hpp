// SPDX-License-Identifier: Apache-2.0
// One run: a worker's steps, its validations and their cost.
#pragma once

#include "endpoint.hpp"
#include "progress.hpp"

namespace gpt {

// One line of the metrics. Numbers are for all workers together, except the bytes, which are for one.
struct point {
  int step = 0;
  double tokens = 0;
  double bytes_per_worker = 0;
  double seconds = 0;
  double training_loss = 0;  // nats per byte, mean since the previous point
  // Nats per byte, of the anchor, which all workers hold right after a round. Under streaming, before the last
  // point, it is the mean over the workers' own parameters.
  double validation_loss = 0;
};

// The cost of a run. On the host, compute is processor time of each worker's thread. So workers that share a
// core do not count the time they wait for it.
// On a device it is wall-clock time, including waits for others.
struct cost {
  double seconds = 0;           // wall clock, without validation
  double bytes_per_worker = 0;  // sent, counted at the transport; the largest of all workers
  double peak_bytes = 0;        // a worker sends at once, headers and votes included
  double compute_seconds = 0;   // of a worker, all steps: gradients and inner updates
  double round_seconds = 0;     // of a worker, all rounds: encode, combine, outer update; without waiting
  double rounds = 0;
};

struct run {
  std::string name, recipe;
  std::vector<point> points;
  cost spent;
  double tokens = 0;
  double validation_loss() const { return points.back().validation_loss; }
};

// Trains the learner's model in place, as one worker of a run. Collective. All workers return the same
// numbers. Saves and resumes as the options say, in a folder with the name of the run; the warm-up does not.
run train(options const& o, method how, split const& data, endpoint& here, learner& learner, progress& bar);

}  // namespace gpt
