#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compile time of the umbrella and of one full DiLoCo translation unit, beside Thrust's own include.

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


def compile_seconds(command, folder, name):
    before = os.times()
    subprocess.run([*command, "-c", str(folder / f"{name}.cpp"), "-o", str(folder / f"{name}.o")], check=True)
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    variants = {"empty": "int main() {}\n", "thrust": THRUST, "umbrella": UMBRELLA, "full": FULL}
    seconds = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, text in variants.items():
            (folder / f"{name}.cpp").write_text(text)
        for _ in range(options.repeat):
            for name in variants:
                seconds[name].append(compile_seconds(options.command, folder, name))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print("| translation unit | seconds | above Thrust |\n|---|---|---|")
    for name, value in median.items():
        print(f"| {name} | {value:.2f} | {value - median['thrust']:+.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
