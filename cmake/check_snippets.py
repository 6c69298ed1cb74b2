#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a C++ block in README.md or docs/ differs from the compiled example it was cut from.

usage: check_snippets.py [--root DIR] [--write]      --write copies the examples' text into the documents

The line before a ```cpp block names a file and a region of it:

    <!-- snippet: examples/01_quadratic.cpp#train -->

and the region stands between the lines `// [train]` and `// [/train]` of that file. A block without C++ in it (shell,
output, pseudo code) has another language than cpp, or none, and needs no marker.
"""
import argparse
import pathlib
import re
import sys
import textwrap

MARKER = re.compile(r"<!--\s*snippet:\s*([^#\s]+)#([\w-]+)\s*-->")
CPP = {"cpp", "c++", "cxx", "cuda", "cu"}
FENCE = re.compile(r"^\s*```+\s*([\w+-]*)")


def region(root, name, tag):
    """The text between `// [tag]` and `// [/tag]` of a file, indentation stripped; ValueError says why not."""
    path = root / name
    if not path.is_file():
        raise ValueError(f"there is no file {name}")
    lines = path.read_text(encoding="utf-8").splitlines()
    marks = [[i for i, line in enumerate(lines) if line.strip() == f"// [{slash}{tag}]"] for slash in ("", "/")]
    if len(marks[0]) != 1 or len(marks[1]) != 1 or marks[0][0] > marks[1][0]:
        raise ValueError(f"{name} needs one line `// [{tag}]` and, after it, one line `// [/{tag}]`")
    inner = lines[marks[0][0] + 1:marks[1][0]]
    inner = [line for line in inner if not re.fullmatch(r"\s*// \[/?[\w-]+\]", line)]  # other regions may nest
    return textwrap.dedent("\n".join(inner)).strip("\n").splitlines()


def blocks(lines):
    """(language, first line, end line, line before the fence) of each fenced block; end is the closing fence."""
    i = 0
    while i < len(lines):
        if opening := FENCE.match(lines[i]):
            end = i + 1
            while end < len(lines) and not re.match(r"^\s*```+\s*$", lines[end]):
                end += 1
            yield opening.group(1).lower(), i + 1, end, lines[i - 1] if i else ""
            i = end
        i += 1


def check_document(root, path, write):
    """(problems as sentences, number of C++ blocks) of one document; with write, mends what differs."""
    name = path.relative_to(root).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    problems, edits, count = [], [], 0
    for language, first, end, before in blocks(lines):
        if language not in CPP:
            continue
        count += 1
        marker = MARKER.search(before)
        if not marker:
            problems.append(f"{name}:{first}: a C++ block without a snippet marker on the line before it; "
                            "cut it from a compiled example")
            continue
        try:
            wanted = region(root, *marker.groups())
        except ValueError as why:
            problems.append(f"{name}:{first}: {why}")
            continue
        if lines[first:end] != wanted:
            edits.append((first, end, wanted))
            if not write:
                problems.append(f"{name}:{first}: differs from {marker.group(1)}#{marker.group(2)}; "
                                "run: python3 cmake/check_snippets.py --write")
    if write and edits:
        for first, end, wanted in reversed(edits):
            lines[first:end] = wanted
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return problems, count


def check_tree(root, write=False):
    documents = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    problems, count = [], 0
    if not documents[0].is_file():
        problems.append("README.md: there is none")
        documents.pop(0)
    for path in documents:
        found, blocks_seen = check_document(root, path, write)
        problems += found
        count += blocks_seen
    return problems, f"{count} C++ blocks in {len(documents)} documents"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    problems, summary = check_tree(options.root, options.write)
    print("\n".join(problems + [summary]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
