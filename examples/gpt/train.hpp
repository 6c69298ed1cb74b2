// SPDX-License-Identifier: Apache-2.0
// One run: a worker's steps, its validations, and what all of it cost.
#pragma once

#include "endpoint.hpp"
#include "progress.hpp"

namespace gpt {

// One line of the metrics. Numbers are of all workers together, but for the bytes, which are of one.
struct point {
  int step = 0;
  double tokens = 0;
  double bytes_per_worker = 0;
  double seconds = 0;
  double training_loss = 0;    // nats per byte, mean since the point before
  double validation_loss = 0;  // nats per byte, of the anchor: all workers hold it right after a round
};

// What a run cost. On the host, compute is processor time of each worker's thread: workers that share a core
// do not count the time they wait for it. On a device it is time on the clock, waits for others included.
struct cost {
  double seconds = 0;           // on the clock, without validation
  double bytes_per_worker = 0;  // sent, counted at the transport; the largest of all workers
  double compute_seconds = 0;   // of a worker, all steps: gradients and inner updates
  double round_seconds = 0;  // of a worker, all rounds: encode, combine, outer update; waiting is not in it
  double rounds = 0;
};

struct run {
  std::string name, recipe;
  std::vector<point> points;
  cost spent;
  double tokens = 0;
  double validation_loss() const { return points.back().validation_loss; }
};

// Trains the learner's model where it stands, as one worker of a run; collective. All workers return the same
// numbers.
run train(options const& o, method how, split const& data, endpoint& here, learner& learner, progress& bar);

}  // namespace gpt
