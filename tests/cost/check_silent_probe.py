#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A silent probe changes no instruction: compiles silent_probe/trainer.cpp

  against the headers as they are, with the probe `silent`;
  against a copy of the headers from which every statement that tells the probe was taken out;
  with `deafly`, a probe that cannot be called with any event;
  with `counters`, which hears them;

and compares the code. The first three must be the same bytes, relocations included; the last must differ, or the
comparison sees nothing. Names of probe types are made equal first. What the compiled core has is left out: it knows no probe's type.

usage: check_silent_probe.py INCLUDE_DIR -- COMPILER FLAGS...
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).parent / "silent_probe" / "trainer.cpp"
TELLS = re.compile(r"\bif constexpr \(hears<Probe, (\w+)>\)\s+tell_probe\([^;]*\);")
EVENTS = {"inner_stepped", "round_launched", "round_landed", "round_aborted"}


def without_events(include, target):
    """Copies the headers without the statements that call a probe. Returns the names of the removed events."""
    shutil.copytree(include, target)
    gone = set()
    for header in target.rglob("*.hpp"):
        text = header.read_text(encoding="utf-8")
        gone.update(TELLS.findall(text))
        header.write_text(TELLS.sub(";", text), encoding="utf-8")
    return gone


def code_of(compiler, include, probe, folder):
    """Disassembly with relocations, one line per instruction, without file addresses and probe names."""
    target = folder / "trainer.o"
    # These headers come first, because the flags may name the include folder too.
    command = [compiler[0], f"-I{include}", *compiler[1:], f"-DPROBE={probe}", "-DDILOCO_COMPILED_CORE", "-c",
               SOURCE, "-o", target]
    subprocess.run(command, check=True)
    text = subprocess.run(["objdump", "-dr", target], check=True, capture_output=True, text=True).stdout
    return text.replace(f"{len(probe)}{probe}", "5probe").splitlines()


def first_difference(a, b):
    for one, two in zip(a, b):
        if one != two:
            return f"{one.strip()}\n{two.strip()}"
    return None if len(a) == len(b) else f"{len(a)} and {len(b)} lines"


def main():
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print(__doc__)
        return 2
    include, compiler = pathlib.Path(sys.argv[1]), sys.argv[3:]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        gone = without_events(include, folder / "include")
        if gone != EVENTS:
            print(f"events taken out: {sorted(gone)}, expected {sorted(EVENTS)}")
            return 1
        silent = code_of(compiler, include, "silent", folder)
        absent = code_of(compiler, folder / "include", "silent", folder)
        deafly = code_of(compiler, include, "deafly", folder)
        counters = code_of(compiler, include, "counters", folder)
    problems = []
    if difference := first_difference(silent, absent):
        problems.append(f"a silent probe is not free; with it, and without any event:\n{difference}")
    if difference := first_difference(silent, deafly):
        problems.append(f"a probe that hears nothing is not silent:\n{difference}")
    if first_difference(silent, counters) is None:
        problems.append("counters changed nothing, so this comparison sees nothing")
    print("\n".join(problems) or f"{len(silent)} lines of code, the same with a silent probe and with none; "
          f"{len(counters)} with counters")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
