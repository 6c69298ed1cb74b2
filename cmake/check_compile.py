#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles a file and fails unless it ends as the file itself promises, on one line of its comments:

    // must compile
    // must not compile: diloco: compressor: cannot be decoded; add ...

usage: check_compile.py SOURCE -- COMPILER FLAGS...

In the second case the message of the *first* error must hold the sentence: a reader sees that line and often no other.
"""
import pathlib
import re
import subprocess
import sys

PROMISE = re.compile(r"^// must (?:(compile)|not compile: (.+?))\s*$", re.M)
# g++ and clang: `file:3:5: error: text`; nvcc: `file(3): error: text` or `file(3): error #135-D: text`.
ERROR = re.compile(r"(?:^|: )(?:fatal )?error(?: #[\w-]+)?: (.*)")


def first_error(log):
    """The message of the first error in a compiler's output, or None."""
    found = next(filter(None, map(ERROR.search, log.splitlines())), None)
    return found.group(1) if found else None


def judge(source, code, log):
    """None if the compiler did what the source's comment promises, else an error message."""
    promises = PROMISE.findall(source)
    if len(promises) != 1:
        return "it needs one line `// must compile` or `// must not compile: <sentence>`"
    compiles, sentence = promises[0]
    if compiles:
        return None if code == 0 else "it must compile, and does not"
    if code == 0:
        return "it must not compile, and does"
    message = first_error(log)
    if message is None:
        return "the compiler refused without an error line"
    return None if sentence in message else f"the first error must say\n  {sentence}\nand says\n  {message}"


def main():
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print(__doc__)
        return 2
    source = sys.argv[1]
    run = subprocess.run([*sys.argv[3:], source], capture_output=True, text=True)
    log = run.stdout + run.stderr
    if problem := judge(pathlib.Path(source).read_text(encoding="utf-8"), run.returncode, log):
        print(f"{source}: {problem}\n\n{log}")
        return 1
    print(first_error(log) or "compiles")
    return 0


if __name__ == "__main__":
    sys.exit(main())
