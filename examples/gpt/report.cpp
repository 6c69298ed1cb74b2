// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <diloco/core/text.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <fstream>

namespace gpt {

namespace {

namespace fs = std::filesystem;
using json = nlohmann::ordered_json;

[[gnu::format(printf, 1, 2)]] std::string text(char const* format, ...) {
  char buffer[160];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(buffer, sizeof buffer, format, arguments);
  va_end(arguments);
  return buffer;
}

std::string row(std::string const& what, std::string const& left, std::string const& right,
                std::string const& remark) {
  return text(remark.empty() ? "%-34s %15s %15s%s" : "%-34s %15s %15s  %s", what.c_str(), left.c_str(),
              right.c_str(), remark.c_str()) +
         "\n";
}

void write(fs::path const& file, std::string const& content) {
  std::ofstream out(file, std::ios::binary);
  out << content;
  if (!out.flush()) throw std::runtime_error(file.string() + ": cannot be written");
}

std::int64_t whole(double x) { return static_cast<std::int64_t>(x); }

json line(run const& r, point const& p) {
  json j{{"run", r.name},
         {"step", p.step},
         {"tokens", whole(p.tokens)},
         {"bytes_per_worker", whole(p.bytes_per_worker)},
         {"seconds", p.seconds},
         {"validation_loss", p.validation_loss}};
  if (p.step > 0) j["training_loss"] = p.training_loss;
  return j;
}

// A named block of gnuplot data: tokens so far, bytes so far, loss.
std::string data_block(char const* name, run const& r, double tokens_before) {
  std::string block = text("$%s << END\n", name);
  for (point const& p : r.points)
    block += text("%.0f %.0f %.5f\n", tokens_before + p.tokens, p.bytes_per_worker, p.validation_loss);
  return block + "END\n";
}

constexpr char const* script = R"gnuplot(set terminal pngcairo size 1200,480 font "sans,11"
set output "loss.png"
set multiplot layout 1,2
set ylabel "validation loss, nats per byte"
set yrange [*:highest]
set grid lt 1 lw 0.5 lc rgb "#cccccc"
set style data linespoints
set xlabel "tokens of all workers"
set format x "%.0s%c"
plot $warm using 1:3 lc rgb "#888888" pt 7 ps 0.5 title "warm-up, one worker", \
     $parallel using 1:3 lc rgb "#1f77b4" pt 7 ps 0.6 title "data-parallel", \
     $diloco using 1:3 lc rgb "#d62728" pt 7 ps 0.6 title "DiLoCo"
)gnuplot";

constexpr char const* script_of_bytes = R"gnuplot(set xlabel "bytes sent per worker (log scale)"
set logscale x
set format x "10^{%T}"
plot $parallel every ::1 using 2:3 lc rgb "#1f77b4" pt 7 ps 0.6 title "data-parallel, ".peak_parallel." at once", \
     $diloco every ::1 using 2:3 lc rgb "#d62728" pt 7 ps 0.6 title "DiLoCo, ".peak_diloco." at once"
)gnuplot";

}  // namespace

std::string grouped(double whole) {
  std::string digits = text("%.0f", whole);
  for (std::ptrdiff_t i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  return digits;
}

double utilization(cost const& c, double link_mbit_per_second) {
  double const on_the_link = c.bytes_per_worker * 8 / (link_mbit_per_second * 1e6);
  return c.compute_seconds / (c.compute_seconds + c.round_seconds + on_the_link);
}

std::string table(run const& a, run const& b, double link) {
  double const worse = 100 * (b.validation_loss() / a.validation_loss() - 1);
  double const sent = b.spent.bytes_per_worker;
  std::string const fewer = sent > 0 ? text("%.1fx", a.spent.bytes_per_worker / sent) : "nothing sent";
  auto const speed = [](run const& r) { return grouped(r.tokens / r.spent.seconds); };
  auto const compute = [](run const& r) {
    return text("%.1f", 1e3 * r.spent.compute_seconds / r.points.back().step);
  };
  auto const round = [](run const& r) { return text("%.1f", 1e3 * r.spent.round_seconds / r.spent.rounds); };
  auto const used = [&](run const& r) { return text("%.1f %%", 100 * utilization(r.spent, link)); };
  std::string all = row("", "data-parallel", "DiLoCo", "");
  all += row("validation loss, nats per byte", text("%.4f", a.validation_loss()),
             text("%.4f", b.validation_loss()), text("%+.2f %%", worse));
  all += row("tokens trained after the warm-up", grouped(a.tokens), grouped(b.tokens), "");
  all += row("tokens/s on this machine", speed(a), speed(b), "");
  all += row("rounds", grouped(a.spent.rounds), grouped(b.spent.rounds), "");
  all += row("bytes sent per worker", grouped(a.spent.bytes_per_worker), grouped(sent), "");
  all += row("reduction", "1x", fewer, "");
  all += row("bytes sent at once per worker", grouped(a.spent.peak_bytes), grouped(b.spent.peak_bytes), "");
  all += row("compute per step and worker, ms", compute(a), compute(b), "");
  all += row("own work per round and worker, ms", round(a), round(b), "");
  all += row(text("utilization at %g Mbit/s", link), used(a), used(b), "computed from the rows above");
  return all;
}

void write_metrics(fs::path const& file, std::vector<run const*> const& runs) {
  std::string lines;
  for (run const* r : runs)
    for (point const& p : r->points) lines += line(*r, p).dump() + "\n";
  write(file, lines);
}

void write_summary(fs::path const& file, options const& o, run const& warm_up, run const& a, run const& b,
                   double seconds) {
  json const summary{{"val_loss_data_parallel", a.validation_loss()},
                     {"val_loss_diloco", b.validation_loss()},
                     {"val_loss_warm_up", warm_up.validation_loss()},
                     {"bytes_per_worker_data_parallel", whole(a.spent.bytes_per_worker)},
                     {"bytes_per_worker_diloco", whole(b.spent.bytes_per_worker)},
                     {"peak_bytes_data_parallel", whole(a.spent.peak_bytes)},
                     {"peak_bytes_diloco", whole(b.spent.peak_bytes)},
                     {"tokens", whole(b.tokens)},
                     {"tokens_warm_up", whole(warm_up.tokens)},
                     {"seconds", seconds},
                     {"tokens_per_second_data_parallel", a.tokens / a.spent.seconds},
                     {"tokens_per_second_diloco", b.tokens / b.spent.seconds},
                     {"link_mbit_per_second", o.link_mbit_per_second},
                     {"utilization_data_parallel", utilization(a.spent, o.link_mbit_per_second)},
                     {"utilization_diloco", utilization(b.spent, o.link_mbit_per_second)},
                     {"workers", o.workers},
                     {"seed", o.seed},
                     {"data", o.data},
                     {"recipe", b.recipe},
                     {"recipe_data_parallel", a.recipe}};
  write(file, summary.dump(2) + "\n");
}

std::string draw_picture(fs::path const& directory, run const& warm_up, run const& a, run const& b) {
  double const start = warm_up.validation_loss(), end = std::min(a.validation_loss(), b.validation_loss());
  std::string const highest =
      text("highest = %.3f\n", start + 0.5 * std::abs(start - end));  // the first losses are much higher
  auto const peak = [](char const* name, run const& r) {
    return text("%s = \"%s\"\n", name, diloco::bytes_text(r.spent.peak_bytes).c_str());
  };
  write(directory / "loss.gnuplot",
        highest + peak("peak_parallel", a) + peak("peak_diloco", b) + data_block("warm", warm_up, 0) +
            data_block("parallel", a, warm_up.tokens) + data_block("diloco", b, warm_up.tokens) + script +
            (b.spent.bytes_per_worker > 0 ? script_of_bytes : ""));
  fs::path const here = fs::current_path();
  fs::current_path(directory);  // the script uses relative file names, so that it can run again anywhere
  bool const there = std::system("command -v gnuplot > /dev/null 2>&1") == 0;
  bool const drawn = there && std::system("gnuplot loss.gnuplot") == 0;
  fs::current_path(here);
  std::string const script_path = (directory / "loss.gnuplot").string();
  if (!there)
    return "no picture was drawn, because gnuplot is not installed; the script for it is " + script_path;
  if (!drawn) return "no picture was drawn, because gnuplot failed on " + script_path;
  return {};
}

}  // namespace gpt
