// SPDX-License-Identifier: Apache-2.0
// What a run needs to go on, beside the state of its trainer. Saved with it as the user's bytes.
#pragma once

#include "train.hpp"

#include <cstdint>

namespace gpt {

// Of one worker. The batch of a step is a function of seed, step and worker, so no position is kept.
struct saved_run {
  std::uint64_t settings = 0;  // digest_of_settings, which the trainer does not compare
  int read = 0;                // step of the last reading of the loss
  int since = 0;               // steps since the last point
  double seconds = 0, compute_seconds = 0, round_seconds = 0, sent_bytes = 0;
  double loss_sum = 0, shown_loss = 0;
  std::vector<point> points;  // up to here

  std::vector<double> numbers() const;
  // Throws bad_input if another program wrote them.
  static saved_run of(std::vector<double> const& numbers);
};

// Digest of the text and of the options that decide batches, steps and points. 53 bits, which a double holds.
std::uint64_t digest_of_settings(options const& o, split const& data);

}  // namespace gpt
