#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the includes of include/diloco and fails where a header includes one that it must not.

usage: check_layers.py [--root DIR] [--write]      --write rewrites cmake/headers.cmake from the tree
"""
import argparse
import pathlib
import re
import statistics
import sys

MAX_LINES, MAX_MEDIAN, MAX_COLUMNS, MAX_FUNCTION = 400, 120, 110, 40
LAYER_OF_FILE = {
    "version.hpp": 0, "diloco_fwd.hpp": 0, "core/config.hpp": 0, "core/units.hpp": 0, "core/error.hpp": 0,
    "recipe.hpp": 6, "trainer.hpp": 6, "snapshot.hpp": 6, "diloco.hpp": 8,
}
LAYER_OF_FOLDER = {"core": 1, "concepts": 2, "state": 3, "wire": 3, "sweep": 4, "inner": 5, "round": 5, "trainer": 6, "recipes": 7}
POLICIES = {"optimizer", "compressor", "feedback", "combine", "exchange", "schedule", "transport", "executor", "probe", "rate", "signal",
            "linear_algebra"}
POLICY_SEES = 2  # the highest layer a policy may include
# Outside headers that have one place each: pattern of the include, who may say it (pattern of the path), why.
PLACES = [
    (r"thrust/(device_|system/cuda|async)|cub/|cuda|cooperative_groups|nvtx3?/", r".*\.cuh|core/config\.hpp",
     "CUDA headers belong in *.cuh and core/config.hpp, so that a plain host compiler builds every .hpp"),
    (r"thrust/", r"executor/.*|.*\.cuh|core/config\.hpp", "Thrust belongs in executor/: it costs 0.7 s per include"),
    (r"nccl\.h", r"transport/detail/nccl_.*", "NCCL belongs in transport/nccl.hpp and its detail"),
    (r"mpi\.h", r"transport/(mpi|detail/mpi_\w+)\.hpp", "MPI belongs in transport/mpi.hpp"),
    (r"omp\.h", r"executor/omp\.hpp", "OpenMP belongs in executor/omp.hpp"),
    (r"(tbb|oneapi)/", r"executor/tbb\.hpp", "oneTBB belongs in executor/tbb.hpp"),
    (r"cublas|cusolver", r"linear_algebra/cublas\.cuh", "cuBLAS belongs in linear_algebra/cublas.cuh"),
    (r"Eigen/", r"linear_algebra/eigen\.hpp", "Eigen belongs in linear_algebra/eigen.hpp: it costs 2 s per include"),
    (r"(CLI|nlohmann|spdlog|fmt|doctest|benchmark)/", r"$^", "tools and tests only: it costs seconds to include"),
]
OPTIONAL = re.compile(r".*\.cuh|transport/(mpi|nccl|detail/(mpi|nccl)_\w+)\.hpp|executor/(omp|tbb)\.hpp|linear_algebra/eigen\.hpp")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)


def folder(path):
    return path.split("/")[0] if "/" in path else ""


def layer(path):
    return LAYER_OF_FILE.get(path, LAYER_OF_FOLDER.get(folder(path)))


def judge_own_include(path, target):
    """One sentence when header `path` must not include diloco header `target`, else None."""
    here, there = layer(path), layer(target)
    if path == "diloco.hpp":
        return "the umbrella includes nothing that needs an optional dependency" if OPTIONAL.fullmatch(target) else None
    if folder(path) in POLICIES:
        if folder(target) in POLICIES:
            if folder(path) != folder(target):
                return f"a policy never sees another policy's folder ({folder(target)}/)"
            if path.startswith("transport/with/") and not target.startswith("transport/with/"):
                return "an adaptor wraps any transport and so includes none"
            return None
        return None if there is not None and there <= POLICY_SEES else "a policy sees layers 0-2 only"
    if folder(target) in POLICIES:
        if path == "recipe.hpp" or here >= 7:
            return None
        return f"layer {here} meets policies only through concepts/; recipe.hpp alone names defaults"
    if {folder(path), folder(target)} == {"inner", "round"}:
        return "inner/ and round/ do not include each other; trainer/ connects them"
    return None if there is not None and there <= here else f"layer {here} includes only layers at or below it, not {there}"


def judge_outside_include(path, target):
    for pattern, allowed, why in PLACES:
        if re.match(pattern, target):
            return None if re.fullmatch(allowed, path) else why
    return None


# A line that ends with { opens a function unless it begins with one of these. clang-format lays out the code. So a body
# ends with the first } in the column where it began.
NO_FUNCTION = re.compile(r" *((inline )?namespace|struct|class|enum|union|template|if|for|while|switch|else|do|try|\}|#)\b")


def long_functions(text):
    """(line, lines) of each function or lambda of namespace or class level that is too long."""
    lines = text.splitlines()
    for first, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.rstrip().endswith("{") or indent > 2 or NO_FUNCTION.match(line) or "=" in line:
            continue
        last = next((n for n in range(first + 1, len(lines)) if lines[n].startswith(" " * indent + "}")), first)
        if last - first + 1 > MAX_FUNCTION:
            yield first + 1, last - first + 1


def check_header(path, text, known):
    problems = []
    lines = text.count("\n")
    if lines > MAX_LINES:
        problems.append(f"{lines} lines, and {MAX_LINES} are the most: split it")
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            problems.append(f"line {number} has {len(line)} columns, and {MAX_COLUMNS} are the most")
    for number, length in long_functions(text):
        problems.append(f"the function in line {number} has {length} lines, and {MAX_FUNCTION} are the most: split it")
    if not text.startswith("// SPDX-License-Identifier: Apache-2.0\n"):
        problems.append("the first line must be the SPDX licence line")
    if "#pragma once" not in text:
        problems.append("#pragma once is missing")
    if path.endswith(".hpp") and path != "core/config.hpp" and re.search(r"__CUDA_ARCH__|__CUDACC__", text):
        problems.append("compiler switches belong in core/config.hpp; use DILOCO_HD and DILOCO_ON_DEVICE")
    if folder(path) not in POLICIES and layer(path) is None:
        problems.append("belongs to no layer; name its layer in cmake/check_layers.py or move it")
        return problems
    for quote, target in INCLUDE.findall(text):
        if quote == '"':
            why = "write <diloco/...>: a quoted path means something else in an installed tree"
        elif not target.startswith("diloco/"):
            why = judge_outside_include(path, target)
        elif target.removeprefix("diloco/") not in known:
            why = "there is no such header"
        else:
            why = judge_own_include(path, target.removeprefix("diloco/"))
        if why:
            problems.append(f"includes {target}: {why}")
    return problems


def header_list(headers):
    body = "\n".join(f"    include/diloco/{path}" for path in sorted(headers))
    return ("# SPDX-License-Identifier: Apache-2.0\n"
            "# Every public header; `python3 cmake/check_layers.py --write` rewrites it, and a test compares it with the tree.\n"
            f"set(DILOCO_HEADERS\n{body})\n")


def check_tree(root, write=False):
    """All violations as error messages, and a summary line."""
    base = root / "include" / "diloco"
    headers = {p.relative_to(base).as_posix(): p.read_text(encoding="utf-8")
               for p in base.rglob("*") if p.suffix in (".hpp", ".cuh")}
    problems = [f"include/diloco/{path}: {why}"
                for path in sorted(headers) for why in check_header(path, headers[path], headers)]
    median = statistics.median(text.count("\n") for text in headers.values()) if headers else 0
    if median > MAX_MEDIAN:
        problems.append(f"include/diloco: the median header has {median:g} lines, and {MAX_MEDIAN} are the most")
    listing = root / "cmake" / "headers.cmake"
    if write:
        listing.write_text(header_list(headers), encoding="utf-8")
    elif not listing.is_file() or listing.read_text(encoding="utf-8") != header_list(headers):
        problems.append("cmake/headers.cmake: differs from the tree, so an install would differ from it too; "
                        "run: python3 cmake/check_layers.py --write")
    longest = max(headers, key=lambda path: headers[path].count("\n"), default="none")
    return problems, (f"{len(headers)} headers, median {median:g} lines, "
                      f"longest {longest} with {headers.get(longest, '').count(chr(10))}")


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
