#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a kernel needs stack or spills registers.

usage: check_ptxas.py --arch sm_90 [--show] -- NVCC FLAGS... SOURCE.cu

A lane_block lives in registers. One that is indexed by something the compiler cannot see through moves to local memory:
2 KB of stack per thread for a block of 256, and a sweep that no longer runs at the memory limit.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile

ENTRY = re.compile(r"Compiling entry function '([^']+)' for '([^']+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def parse(log):
    """[(kernel, arch, stack, spill stores, spill loads, registers)] from what `ptxas -v` prints."""
    kernels = []
    entry, frame = None, None
    for line in log.splitlines():
        if found := ENTRY.search(line):
            entry, frame = found.groups(), None
        elif (found := FRAME.search(line)) and entry and frame is None:
            frame = tuple(int(n) for n in found.groups())
        elif (found := REGISTERS.search(line)) and entry and frame is not None:
            kernels.append((*entry, *frame, int(found.group(1))))
            entry = None
    return kernels


def judge(kernels):
    """One error message per kernel that does not stay in registers."""
    problems = []
    for name, arch, stack, stores, loads, _ in kernels:
        if stack or stores or loads:
            problems.append(f"{arch}: {stack} bytes of stack, {stores} spill stores, {loads} spill loads in {name}")
    return problems or ([] if kernels else ["no kernel was compiled, so nothing was checked"])


def demangle(text):
    try:
        return subprocess.run(["c++filt", "--no-params"], input=text, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--show", action="store_true", help="list every kernel and its registers")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([*options.command, f"-arch={options.arch}", "-cubin", "-Xptxas", "-v",
                              "-o", os.path.join(folder, "kernels.cubin")], capture_output=True, text=True)
    log = run.stdout + run.stderr
    if run.returncode != 0:
        print(log)
        return 1
    kernels = parse(log)
    if options.show:
        for name, arch, _, _, _, registers in kernels:
            print(demangle(f"{arch} {registers:3d} registers  {name}"))
    problems = judge(kernels)
    for problem in problems:
        print(demangle(problem).rstrip())
    print(f"{len(kernels)} kernels for {options.arch}, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
