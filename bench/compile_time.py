#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compile time of the umbrella, of one DiLoCo program and of five recipes in one file, as ratios to Thrust's own include;
header-only and with the compiled core.

  compile_time.py [--repeat 5] -- COMPILER FLAGS...

Variants run in turn, and the median of each is printed: user plus system seconds of the compiler's processes, which other
work on the machine disturbs less than wall time.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

THRUST = """#include <diloco/core/config.hpp>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/system/cpp/execution_policy.h>
int main() {}
"""
UMBRELLA = "#include <diloco/diloco.hpp>\nint main() {}\n"
FULL = """#include <diloco/diloco.hpp>
using trainer_type = diloco::DiLoCo<diloco::adamw, diloco::nesterov, diloco::absmax<4, 256>, diloco::threads>;
void train(diloco::threads transport, std::vector<diloco::tensor> const& parameters,
           std::vector<std::span<float const>> const& gradients) {
  trainer_type trainer({.transport = std::move(transport), .schedule = diloco::every(20)}, parameters);
  for (int i = 0; i < 40; ++i) trainer.step(gradients);
}
int main() {}
"""


FIVE = """#include <diloco/diloco.hpp>
using namespace diloco;
using gradients_type = std::vector<std::span<float const>>;
template <class Trainer>
void train(threads transport, std::vector<tensor> const& parameters, gradients_type const& gradients) {
  Trainer trainer({.transport = std::move(transport), .schedule = every(20)}, parameters);
  for (int i = 0; i < 40; ++i) trainer.step(gradients);
}
template void train<DiLoCo<adamw, nesterov, absmax<4>, threads>>(threads, std::vector<tensor> const&, gradients_type const&);
template void train<DiLoCo<adamw, nesterov, absmax<8>, threads>>(threads, std::vector<tensor> const&, gradients_type const&);
template void train<DiLoCo<lion, nesterov, sign<>, threads>>(threads, std::vector<tensor> const&, gradients_type const&);
template void train<DiLoCo<sgd, sgd, top_k<64>, threads>>(threads, std::vector<tensor> const&, gradients_type const&);
template void train<DiLoCo<adamw, nesterov, f32, threads>>(threads, std::vector<tensor> const&, gradients_type const&);
int main() {}
"""
CORE = "-DDILOCO_COMPILED_CORE"
# name: (text, flags beside the caller's)
VARIANTS = {
    "thrust": (THRUST, []),
    "umbrella": (UMBRELLA, []),
    "umbrella, core": (UMBRELLA, [CORE]),
    "program -O0": (FULL, ["-O0"]),
    "program -O0, core": (FULL, ["-O0", CORE]),
    "program -O3": (FULL, ["-O3"]),
    "program -O3, core": (FULL, ["-O3", CORE]),
    "five recipes -O3": (FIVE, ["-O3"]),
    "five recipes -O3, core": (FIVE, ["-O3", CORE]),
}


def compile_seconds(command, folder, name):
    source = folder / "file.cpp"
    source.write_text(VARIANTS[name][0])
    before = os.times()
    subprocess.run([*command, *VARIANTS[name][1], "-c", str(source), "-o", str(folder / "file.o")], check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    seconds = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.repeat):
            for name in VARIANTS:
                seconds[name].append(compile_seconds(options.command, pathlib.Path(folder), name))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print("| translation unit | seconds | times Thrust |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {value / median['thrust']:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
