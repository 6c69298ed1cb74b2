#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Google Benchmark's JSON as markdown tables, with the targets beside what was reached.

  bench_sweep --benchmark_repetitions=5 --benchmark_format=json > sweep.json
  report.py sweep.json [more.json …]
  report.py --device FOLDER           the page docs/results/gpu.md, from what device.sh wrote

With repetitions the median is taken. Each file becomes one table; the machine is named once, from the first file.
"""
import argparse
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import device_table  # noqa: E402

# Share of the triad that a sweep over 2^24 parameters should reach, from the project's goals.
TARGETS = [
    (r"^inner_step/adamw/", 90),
    (r"^sweep_a/(f32|f16|scaled_f16/256|bf16|absmax8/256|min_max8/128|e4m3/256|e5m2/256|dynamic8/256)/", 85),
    (r"^sweep_a/(absmax4/256|e2m1/64|sign/256)/", 70),
    (r"^sweep_a/(e3m0/128|mxfp[468]|nvfp4|absmax2/256|lloyd_max2/256)/", 55),
    (r"^sweep_b/.*/2(/|$)", 75),
]
SKIPPED = {"name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions", "repetition_index",
           "threads", "iterations", "real_time", "cpu_time", "time_unit", "aggregate_name", "aggregate_unit"}


def machine(context):
    name = "unknown processor"
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.*)", cpuinfo.read_text())
        name = found.group(1) if found else name
    caches = ", ".join(f"L{c['level']} {c['type'][0]} {c['size'] // 1024} KiB" for c in context.get("caches", []))
    load = ", ".join(f"{x:.2f}" for x in context.get("load_avg", []))
    return f"{name}, {context['num_cpus']} cores ({caches}); {context['date'][:10]}; load average at the start {load}"


def rows_of(document):
    runs = document["benchmarks"]
    medians = [r for r in runs if r.get("aggregate_name") == "median"]
    return medians or [r for r in runs if r.get("run_type") != "aggregate"]


def number(x):
    if x == 0:
        return "0"
    for limit, suffix in ((1e9, " G"), (1e6, " M")):
        if abs(x) >= limit:
            return f"{x / limit:.3g}{suffix}"
    return f"{x:.3g}"


def verdict(name, share):
    for pattern, target in TARGETS:
        if re.search(pattern, name):
            return f"{target} %", "met" if share >= target else f"missed by {target - share:.1f} points"
    return "", ""


def table(document):
    rows = rows_of(document)
    counters = sorted({key for r in rows for key in r if key not in SKIPPED})
    judged = "%triad" in counters
    head = ["benchmark", "time", *counters, *(["target", "result"] if judged else [])]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in rows:
        name = re.sub(r"/manual_time", "", r["run_name"])
        cells = [name, f"{r['real_time']:.3g} {r['time_unit']}"] + [number(r[c]) if c in r else "" for c in counters]
        if judged:
            cells += verdict(name, r["%triad"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--device", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.device:
        print(device_table.page(options.device), end="")
        return 0
    if not options.files:
        parser.error("name a file, or --device FOLDER")
    documents = [json.loads(path.read_text()) for path in options.files]
    print(machine(documents[0]["context"]) + "\n")
    for document in documents:
        print(table(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
