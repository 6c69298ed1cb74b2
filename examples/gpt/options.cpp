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
  app.add_option("--workers", o.workers, "K, workers that train side by side")->group("Training");
  app.add_option("--every", o.every, "H, inner steps per DiLoCo round")->group("Training");
  app.add_option("--steps", o.steps, "steps of every worker in each of the two runs")->group("Training");
  app.add_option("--warm-up-steps", o.warm_up_steps,
                 "steps before the two runs, of one worker that sees the batches of all and sends nothing")->group("Training");
  app.add_option("--batch", o.batch, "sequences per worker and step")->group("Training");
  app.add_option("--inner-lr", o.inner.lr, "AdamW's learning rate, in both runs")->group("Training");
  app.add_option("--warm-up-lr", o.warm_up_lr, "AdamW's learning rate during the warm-up")->group("Training");
  app.add_option("--beta1", o.inner.beta1, "AdamW's first decay")->group("Training");
  app.add_option("--beta2", o.inner.beta2, "AdamW's second decay")->group("Training");
  app.add_option("--weight-decay", o.inner.weight_decay, "AdamW's weight decay")->group("Training");
  app.add_option("--ramp-steps", o.ramp_steps, "steps over which the learning rate rises")->group("Training");
  app.add_option("--final-lr", o.final_lr, "share of the learning rate left at the end")->group("Training");
  app.add_option("--clip", o.clip, "largest norm of a worker's gradient")->group("Training");
  app.add_option("--seed", o.seed, "of weights, batches and sample")->group("Training");
}

void declare_round(CLI::App& app, options& o) {
  app.add_option("--compressor", o.compressor, "f32, f16, bf16, absmax8, absmax4 or sign")->group("DiLoCo round");
  app.add_option("--feedback-decay", o.feedback.decay,
                 "share of what the compressor lost that the next round sends; 0: none")->group("DiLoCo round");
  app.add_option("--outer-lr", o.outer.lr, "learning rate of outer Nesterov")->group("DiLoCo round");
  app.add_option("--outer-momentum", o.outer.momentum, "momentum of outer Nesterov")->group("DiLoCo round");
  app.add_option("--exchange", o.exchange, "automatic, gather or scatter_gather, in both runs")->group("DiLoCo round");
  app.add_option("--transport", o.transport, "threads, or mpi under mpirun (one worker per process)")->group("DiLoCo round");
  app.add_option("--executor", o.executor, "of the sweeps inside one worker: cpp, omp or tbb")->group("DiLoCo round");
  app.add_option("--deadline", o.deadline_seconds, "seconds to wait for the others before giving up")->group("DiLoCo round");
}

void declare_model(CLI::App& app, options& o) {
  app.add_option("--context", o.shape.context, "bytes per sequence")->group("Model");
  app.add_option("--layers", o.shape.layers, "transformer blocks")->group("Model");
  app.add_option("--width", o.shape.width, "numbers per position, a multiple of --heads")->group("Model");
  app.add_option("--heads", o.shape.heads, "attention heads")->group("Model");
}

void declare_report(CLI::App& app, options& o) {
  app.add_option("--data", o.data, "text to learn: a file, or a directory with all files below it\n"
                 "(default: the headers of the C++ standard library)");
  app.add_option("--out", o.out, "directory for metrics.jsonl, summary.json and loss.png");
  app.add_option("--evaluate-every", o.evaluate_every, "steps between validations, rounded up to rounds")->group("Report");
  app.add_option("--validation-bytes", o.validation_bytes, "bytes of held-out text per validation")->group("Report");
  app.add_option("--link", o.link_mbit_per_second, "Mbit/s of the imagined network in the table")->group("Report");
  app.add_option("--prompt", o.prompt, "beginning of the generated sample")->group("Report");
  app.add_option("--sample-bytes", o.sample_bytes, "bytes to generate")->group("Report");
  app.add_option("--temperature", o.temperature, "of the sample: below 1 more likely, above 1 more varied")->group("Report");
}

void require(bool fine, std::string const& sentence) {
  if (!fine) throw bad_input(sentence);
}

template <class Number> void require_in(char const* flag, Number value, double low, double high) {
  double const x = static_cast<double>(value);
  require(x >= low && x <= high, std::string(flag) + " " + diloco::number_text(x) + ": must be in [" +
                                     diloco::number_text(low) + ", " + diloco::number_text(high) + "]");
}

void require_above_zero(char const* flag, double value) {
  require(value > 0 && std::isfinite(value),
          std::string(flag) + " " + diloco::number_text(value) + ": must be a number above 0");
}

template <class Policy> void require_valid(char const* role, Policy const& policy) {
  std::string const complaint = diloco::field_complaint(role, policy);
  require(complaint.empty(), complaint);
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
  require(o.shape.width % o.shape.heads == 0, "--width " + std::to_string(o.shape.width) + ": is not a multiple of --heads " +
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
  require_above_zero("--clip", static_cast<double>(o.clip));
  require_in("--deadline", o.deadline_seconds, 0.001, 86400);
  require_in("--evaluate-every", o.evaluate_every, 1, 1e7);
  require_in("--validation-bytes", o.validation_bytes, o.shape.context, 1 << 30);
  require_above_zero("--link", o.link_mbit_per_second);
  require_in("--sample-bytes", o.sample_bytes, 0, 1e6);
  require_above_zero("--temperature", o.temperature);
  require(!o.prompt.empty(), "--prompt: must hold at least one byte");
  require(!o.data.empty(), "--data: no text to learn was named, and the compiler's own headers are not known here");
  require_valid("inner", o.inner);
  require_valid("outer", o.outer);
  require_valid("feedback", o.feedback);
  require_one_of("--exchange", o.exchange, {"automatic", "gather", "scatter_gather"});
  require_one_of("--transport", o.transport, {"threads", "mpi"});
  require_one_of("--executor", o.executor, {"cpp", "omp", "tbb"});
  compressor_named(o.compressor);
}

bool parse(int argc, char** argv, options& into) {
  CLI::App app("Trains a byte-level GPT twice from the same start, data-parallel and with DiLoCo, and compares loss, speed\n"
               "and bytes sent.", "diloco_gpt");
  app.option_defaults()->always_capture_default();
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
  check(into);
  return true;
}

}  // namespace gpt
