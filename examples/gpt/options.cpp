// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "bad_input.hpp"
#include "default_text.hpp"

#include <diloco/core/field.hpp>

#include <CLI/CLI.hpp>

#include <cmath>
#include <cstdio>
#include <filesystem>

namespace gpt {

namespace {

void declare_training(CLI::App& app, options& o) {
  auto const add = [&](char const* flag, auto& value, char const* meaning) {
    app.add_option(flag, value, meaning)->group("Training");
  };
  add("--workers", o.workers, "K, workers that train side by side");
  add("--every", o.every, "H, inner steps per DiLoCo round");
  add("--steps", o.steps, "steps of every worker in each of the two runs");
  add("--warm-up-steps", o.warm_up_steps,
      "steps before the two runs, of one worker that sees the batches of all and sends nothing");
  add("--batch", o.batch, "sequences per worker and step");
  add("--inner-lr", o.inner.lr, "AdamW's learning rate, in both runs");
  add("--warm-up-lr", o.warm_up_lr, "AdamW's learning rate during the warm-up");
  add("--beta1", o.inner.beta1, "AdamW's first decay");
  add("--beta2", o.inner.beta2, "AdamW's second decay");
  add("--weight-decay", o.inner.weight_decay, "AdamW's weight decay");
  add("--ramp-steps", o.ramp_steps, "steps over which the learning rate rises");
  add("--final-lr", o.final_lr, "share of the learning rate left at the end");
  add("--clip", o.clip, "largest norm of a worker's gradient");
  add("--seed", o.seed, "of weights, batches and sample");
  add("--device", o.device,
      "cpu, or cuda: model, sweeps and sampling on a GPU, products of matrices by cuBLAS");
}

void declare_round(CLI::App& app, options& o) {
  auto const add = [&](char const* flag, auto& value, char const* meaning) {
    app.add_option(flag, value, meaning)->group("DiLoCo round");
  };
  add("--compressor", o.compressor, "f32, f16, bf16, absmax8, absmax4 or sign");
  add("--feedback-decay", o.feedback.decay,
      "share of what the compressor lost that the next round sends; 0: none");
  add("--outer-lr", o.outer.lr, "learning rate of outer Nesterov");
  add("--outer-momentum", o.outer.momentum, "momentum of outer Nesterov");
  add("--schedule", o.schedule, "every, or streaming: parts of the model in turn, sent while steps go on");
  add("--fragments", o.fragments, "of the schedule streaming: parts of the model");
  add("--delay", o.delay, "of the schedule streaming: steps between the launch and the landing of a part");
  add("--mix", o.mix, "of the schedule streaming: share of the own steps that a landing keeps");
  add("--exchange", o.exchange, "automatic, gather or scatter_gather, in both runs");
  add("--transport", o.transport, "threads, or mpi under mpirun (one worker per process)");
  add("--executor", o.executor, "of the sweeps inside one worker: cpp, omp or tbb");
  add("--deadline", o.deadline_seconds, "seconds to wait for the others before giving up");
}

void declare_model(CLI::App& app, options& o) {
  auto const add = [&](char const* flag, auto& value, char const* meaning) {
    app.add_option(flag, value, meaning)->group("Model");
  };
  add("--context", o.shape.context, "bytes per sequence");
  add("--layers", o.shape.layers, "transformer blocks");
  add("--width", o.shape.width, "numbers per position, a multiple of --heads");
  add("--heads", o.shape.heads, "attention heads");
}

void declare_report(CLI::App& app, options& o) {
  auto const add = [&](char const* flag, auto& value, char const* meaning) {
    app.add_option(flag, value, meaning)->group("Report");
  };
  app.add_option("--data", o.data,
                 "text to learn: a file, or a directory with all files below it\n"
                 "(default: the headers of the C++ standard library)");
  app.add_option("--out", o.out, "directory for metrics.jsonl, summary.json and loss.png");
  add("--save", o.save, "directory for snapshots of both runs");
  add("--save-every", o.save_every, "steps between snapshots; the last step is always saved");
  add("--resume", o.resume,
      "directory of snapshots to go on from; without any, the runs begin anew. May be that of --save");
  add("--evaluate-every", o.evaluate_every, "steps between validations, rounded up to rounds");
  add("--validation-bytes", o.validation_bytes, "bytes of held-out text per validation");
  add("--link", o.link_mbit_per_second, "Mbit/s of the imagined network in the table");
  add("--prompt", o.prompt, "beginning of the generated sample");
  add("--sample-bytes", o.sample_bytes, "bytes to generate");
  add("--temperature", o.temperature, "of the sample: below 1 more likely, above 1 more varied");
}

std::string plain(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.7g", x);
  return text;
}

void require(bool fine, std::string const& sentence) {
  if (!fine) throw bad_input(sentence);
}

template <class Number>
void require_in(char const* flag, Number value, double low, double high) {
  double const x = static_cast<double>(value);
  require(x >= low && x <= high,
          std::string(flag) + " " + plain(x) + ": must be in [" + plain(low) + ", " + plain(high) + "]");
}

void require_above_zero(char const* flag, double value) {
  require(value > 0 && std::isfinite(value),
          std::string(flag) + " " + plain(value) + ": must be a number above 0");
}

template <class Policy>
void require_valid(char const* role, Policy const& policy) {
  std::string const invalid = diloco::field_error(role, policy);
  require(invalid.empty(), invalid);
}

void require_one_of(char const* flag, std::string const& value, std::initializer_list<char const*> allowed) {
  std::string list;
  for (char const* name : allowed) {
    if (value == name) return;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  throw bad_input(std::string(flag) + " " + value + ": is none of " + list);
}

void check_model(options const& o) {
  require_in("--context", o.shape.context, 1, 4096);
  require_in("--layers", o.shape.layers, 1, 64);
  require_in("--width", o.shape.width, 1, 4096);
  require_in("--heads", o.shape.heads, 1, 64);
  require(o.shape.width % o.shape.heads == 0, "--width " + std::to_string(o.shape.width) +
                                                  ": is not a multiple of --heads " +
                                                  std::to_string(o.shape.heads));
}

}  // namespace

any_compressor compressor_named(std::string const& name) {
  if (name == "f32") return diloco::f32{};
  if (name == "f16") return diloco::f16{};
  if (name == "bf16") return diloco::bf16{};
  if (name == "absmax8") return diloco::absmax<8>{};
  if (name == "absmax4") return diloco::absmax<4>{};
  if (name == "sign") return diloco::sign<>{};
  throw bad_input("--compressor " + name + ": is none of f32, f16, bf16, absmax8, absmax4, sign");
}

void check(options const& o) {
  check_model(o);
  require_in("--workers", o.workers, 1, 256);
  require_in("--every", o.every, 1, 1e6);
  require_in("--steps", o.steps, 1, 1e7);
  require_in("--warm-up-steps", o.warm_up_steps, 0, 1e7);
  require_in("--batch", o.batch, 1, 4096);
  require_in("--ramp-steps", o.ramp_steps, 1, 1e7);
  require_above_zero("--warm-up-lr", static_cast<double>(o.warm_up_lr));
  require_in("--final-lr", o.final_lr, 0, 1);
  require_in("--seed", o.seed, 0,
             9007199254740991);  // largest integer that a double counts exactly; -1 would be larger
  require_above_zero("--clip", static_cast<double>(o.clip));
  require_in("--deadline", o.deadline_seconds, 0.001, 86400);
  require_in("--evaluate-every", o.evaluate_every, 1, 1e7);
  require_in("--save-every", o.save_every, 1, 1e7);
  require_in("--validation-bytes", o.validation_bytes, o.shape.context, 1 << 30);
  require_above_zero("--link", o.link_mbit_per_second);
  require_in("--sample-bytes", o.sample_bytes, 0, 1e6);
  require_above_zero("--temperature", o.temperature);
  require(!o.prompt.empty(), "--prompt: must hold at least one byte");
  require(!o.data.empty(),
          "--data: no text to learn was named, and the compiler's own headers are not known here");
  require_valid("inner", o.inner);
  require_valid("outer", o.outer);
  require_valid("feedback", o.feedback);
  require_one_of("--schedule", o.schedule, {"every", "streaming"});
  require_valid("schedule", o.rounds());
  require_one_of("--exchange", o.exchange, {"automatic", "gather", "scatter_gather"});
  require_one_of("--transport", o.transport, {"threads", "mpi"});
  require_one_of("--executor", o.executor, {"cpp", "omp", "tbb"});
  require_one_of("--device", o.device, {"cpu", "cuda"});
  require(o.device == "cpu" || o.executor == "cpp",
          "--executor " + o.executor + ": with --device cuda the sweeps run on the device; leave it out");
  compressor_named(o.compressor);
}

bool parse(int argc, char** argv, options& into) {
  CLI::App app(
      "Trains a byte-level GPT twice from the same start, data-parallel and with DiLoCo, and compares loss, "
      "speed\n"
      "and bytes sent.",
      "diloco_gpt");
  app.option_defaults()->always_capture_default()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  declare_report(app, into);
  declare_training(app, into);
  declare_round(app, into);
  declare_model(app, into);
  app.get_formatter()->column_width(34);
  try {
    app.parse(argc, argv);
  } catch (CLI::CallForHelp const&) {
    std::fputs(app.help().c_str(), stdout);
    return false;
  } catch (CLI::ParseError const& error) {
    throw bad_input(error.what());
  }
  if (into.data.empty()) into.data = default_text();
  into.workers_given = app.count("--workers") > 0;
  for (char const* flag : {"--fragments", "--delay", "--mix"})
    require(into.schedule == "streaming" || app.count(flag) == 0,
            std::string(flag) + ": is of --schedule streaming");
  check(into);
  return true;
}

}  // namespace gpt
