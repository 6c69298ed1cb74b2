// SPDX-License-Identifier: Apache-2.0
// All options of the program and their defaults.
#pragma once

#include "shape.hpp"

#include <diloco/compressor/absmax.hpp>
#include <diloco/compressor/f32.hpp>
#include <diloco/compressor/half.hpp>
#include <diloco/compressor/sign.hpp>
#include <diloco/feedback/error_feedback.hpp>
#include <diloco/optimizer/adamw.hpp>
#include <diloco/optimizer/nesterov.hpp>
#include <diloco/schedule/streaming.hpp>

#include <cstdint>
#include <string>
#include <variant>

namespace gpt {

using any_compressor = std::variant<diloco::f32, diloco::f16, diloco::bf16, diloco::absmax<8>,
                                    diloco::absmax<4>, diloco::sign<>>;

struct options {
  std::string data;  // a file or a directory
  std::string out = "gpt-out";
  std::string save, resume;  // folders of snapshots, or empty
  int save_every = 60;       // steps

  int workers = 4;  // K
  bool workers_given = false;
  int every = 20;  // H, inner steps per round
  std::string schedule = "every";
  int fragments = 4, delay = 5;  // of the schedule streaming, like mix
  float mix = 0.0f;
  int steps = 600;          // per worker and run, after the warm-up
  int warm_up_steps = 200;  // of one worker with the batches of all workers
  model_shape shape;
  int batch = 4;  // sequences per worker and step
  std::string device = "cpu";

  diloco::adamw inner{.lr = 1.2e-3f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .weight_decay = 0.1f};
  diloco::nesterov outer{.lr = 0.7f, .momentum = 0.9f};
  std::string compressor = "absmax4";
  diloco::error_feedback feedback{.decay = 1.0f};
  std::string exchange = "automatic";
  std::string executor = "cpp";
  std::string transport = "threads";
  double deadline_seconds = 60;

  int ramp_steps = 20;       // of the learning rate, at the start of each run
  float warm_up_lr = 2e-3f;  // of AdamW during the warm-up, constant after the ramp
  float final_lr = 0.1f;     // share of the learning rate at the end of a run
  float clip = 1.0f;         // largest norm of a worker's gradient
  std::uint64_t seed = 1;
  int evaluate_every = 60;  // steps, rounded up to whole rounds
  int validation_bytes = 32768;

  double link_mbit_per_second = 100;  // of the assumed network in the table
  std::string prompt = "  template<typename ";
  int sample_bytes = 400;
  double temperature = 0.7;

  // With one fragment and no delay, streaming is every(H).
  diloco::streaming rounds() const {
    if (schedule == "every") return {.inner_steps = every, .parts = 1, .delay = 0, .mix = 0};
    return {.inner_steps = every, .parts = fragments, .delay = delay, .mix = mix};
  }
  std::size_t tokens_per_step() const {
    return static_cast<std::size_t>(workers) * static_cast<std::size_t>(batch) *
           static_cast<std::size_t>(shape.context);
  }
};

// Throws bad_input with one sentence for anything the program cannot run with. Returns false if the user only
// asked for help, which it has then printed.
bool parse(int argc, char** argv, options& into);
void check(options const& o);

any_compressor compressor_named(std::string const& name);

}  // namespace gpt
