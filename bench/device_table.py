# SPDX-License-Identifier: Apache-2.0
"""docs/results/gpu.md: all figures that are wanted of a device, from the folder that device.sh wrote; report.py --device.

What a folder does not hold reads "not yet measured". Of an empty folder there are no tables: one sentence, the targets and
the commands."""
import json
import re

NOT_YET = "not yet measured"
SIZES = ("2^28", "2^30")
COMPRESSORS = ("f32", "f16", "bf16", "absmax8/256", "absmax4/256", "e4m3/256", "e3m0/128", "e2m1/64", "sign/256", "mxfp8",
               "nvfp4", "top_k64/4096+2bit")  # for_common_compressors of sweeps.hpp
OTHERS = ("scaled_f16/256", "min_max8/128", "e5m2/256", "dynamic8/256", "mxfp6", "mxfp4", "lloyd_max4/256",
          "hadamard32+absmax4/256", "qsgd4/128", "absmax2/256", "lloyd_max2/256", "natural", "top_k128/4096+2bit",
          "top_k64/4096+f16", "dct_top_k32/4096+f16", "random_k64/4096", "statistical4", "statistical16", "statistical256",
          "low_rank4", "low_rank4/common")  # for_other_compressors: at the smaller size, and without a target
STEPS = ("adamw", "sgd", "lion")
TARGETS = [  # name of a benchmark, share of the copy in %
    (r"^inner_step/adamw/", 90),
    (r"^sweep_a/(absmax8/256|absmax4/256|e3m0/128|sign/256)/", 90),
    (r"^sweep_b/.*/K:2/", 90),
]
ROUND_MILLISECONDS = 12  # for 2^30 parameters
SLOWER_PERCENT = 2
PYTORCH_TARGETS = {"local_outer_flat_fresh": 5, "local_outer_flat_reuse": 5, "local_outer_flat_foreach": 5,
                   "adamw_flat_fused": 1, "adamw_list_fused": 1}
PEERS = [("AdamW, 1 tensor", "adamw_flat_fused", "adamw_flat"), ("AdamW, 101 tensors", "adamw_list_fused", "adamw_list"),
         *[(f"local outer step, {how}", f"local_outer_flat_{how}", "local_outer_flat_absmax8")
           for how in ("fresh", "reuse", "foreach")]]
COMMANDS = """```sh
sh bench/device.sh OUT PYTHON      # all of it, in less than ten minutes; PYTHON has a CUDA build of PyTorch
cmake --workflow --preset cuda     # every test on the device, and the sanitizer over a few; builds the benches, too
build/cuda/bench/cuda/bench_cuda_sweep --benchmark_out=OUT/sweep.json --benchmark_out_format=json   # likewise round, thrust_by_parts
PYTHON bench/peers/run.py --device cuda --peer build/cuda/bench/cuda/diloco_peer_cuda --python PYTHON --json OUT/peers.json
python3 bench/report.py --device OUT > docs/results/gpu.md
```"""


def name_of(run):
    return re.sub(r"/(iterations:\d+|manual_time)", "", run["run_name"])


def read(path):
    """The JSON of a run. If the run ran out of time, what it had written by then."""
    text = path.read_text(encoding="utf-8")
    for attempt in (text, text[:text.rfind("}") + 1] + "]}"):
        try:
            return json.loads(attempt)
        except json.JSONDecodeError:
            pass
    return {"context": {}, "benchmarks": []}


class results:
    """Runs by name, contexts and the peers' rows of a folder."""

    def __init__(self, folder):
        self.runs, self.context, self.peers, self.texts = {}, {}, {}, {}
        for path in sorted(folder.glob("*.json")):
            document = read(path)
            if isinstance(document, list):
                self.peers.update({(r["torch_work"], r["diloco_work"]): r for r in document})
                continue
            self.context.update(document["context"])
            self.runs.update({name_of(r): r for r in document["benchmarks"] if "error_message" not in r})
        for name in ("date.txt", "device.csv"):
            path = folder / name
            self.texts[name] = path.read_text(encoding="utf-8").strip() if path.exists() else ""

    def milliseconds(self, name):
        run = self.runs.get(name)
        if run is None:
            return None
        return run["real_time"] * {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3}[run["time_unit"]]

    def counter(self, name, counter):
        return self.runs.get(name, {}).get(counter)


def show(value, form):
    return NOT_YET if value is None else form.format(value)


def verdict(value, target, form, at_least=True):
    """The target, and once there is a figure whether it is met."""
    text = form.format(target)
    if value is None:
        return text
    return text + (", met" if (value >= target) == at_least or value == target else ", missed")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def sweeps(r, names, sizes=SIZES):
    """Against the copy: time, GB/s and share at each size; of one size only, without targets."""
    has_target = len(sizes) > 1
    head = ["work", "B/param"] + [f"{what}, {n}" for n in sizes for what in ("ms", "GB/s", "% of copy")]
    rows = []
    for name in names:
        keys = [f"{name}/N:{n}" for n in sizes]
        cells = [f"`{name}`", show(next((r.counter(k, "B/param") for k in keys if k in r.runs), None), "{:.3g}")]
        for key in keys:
            cells += [show(r.milliseconds(key), "{:.2f}"), show(r.counter(key, "GB/s"), "{:.0f}"),
                      show(r.counter(key, "%copy"), "{:.1f}")]
        target = next((t for pattern, t in TARGETS if re.search(pattern, keys[0])), None)
        shares = [s for s in (r.counter(k, "%copy") for k in keys) if s is not None]
        if has_target:
            cells.append("" if target is None else verdict(min(shares) if shares else None, target, "≥ {} %"))
        rows.append(cells)
    return table(head + ["target"] * has_target, rows)


def rounds(r):
    rows = []
    for c in ("f32", "absmax8/256", "absmax4/256"):
        keys = [f"local_round/{c}/N:{n}" for n in SIZES]
        big = r.milliseconds(keys[1])
        rows.append([f"`local_round/{c}`", *[show(r.milliseconds(k), "{:.2f}") for k in keys],
                     show(r.counter(keys[1], "%copy"), "{:.1f}"),
                     verdict(big, ROUND_MILLISECONDS, "≤ {} ms", at_least=False) if c != "f32" else ""])
    return table(["work", "ms, 2^28", "ms, 2^30", "% of copy, 2^30", "target at 2^30"], rows)


def parts(r):
    rows = []
    for ours, theirs in (("inner_step/adamw", "thrust_by_parts/adamw"),
                         ("local_round/absmax8/256", "thrust_by_parts/local_outer/absmax8")):
        for n in SIZES:
            a, b = r.milliseconds(f"{ours}/N:{n}"), r.milliseconds(f"{theirs}/N:{n}")
            rows.append([f"`{ours}`", n, show(a, "{:.2f}"), show(b, "{:.2f}"), show(b / a if a and b else None, "{:.2f}×")])
    return table(["work", "N", "diloco ms", "Thrust by parts ms", "Thrust / diloco"], rows)


def peers(r):
    rows = []
    for title, theirs, ours in PEERS:
        ratio = r.peers.get((theirs, ours), {}).get("ratio")
        rows.append([title, f"`{theirs}`", f"`{ours}`", show(ratio, "{:.2f}×"),
                     verdict(ratio, PYTORCH_TARGETS[theirs], "≥ {}×")])
    return table(["work", "PyTorch", "diloco", "PyTorch / diloco", "target"], rows)


def overlap(r):
    rows = []
    for n in SIZES:
        slower = r.counter(f"overlap/adamw/copy_to_host/N:{n}", "%slower")
        rows.append([n, show(slower, "{:.2f} %"), verdict(slower, SLOWER_PERCENT, "≤ {} %", at_least=False)])
    return table(["N", "slower by", "target"], rows)


def facts(r):
    device = r.texts["device.csv"].splitlines()
    cuda = [f"{r.context[k]} of the {what}" for k, what in (("runtime_cuda", "runtime"), ("driver_cuda", "driver"))
            if k in r.context]
    rows = [["date", r.texts["date.txt"] or NOT_YET], ["device", r.context.get("device", NOT_YET)],
            ["name, driver, memory, clocks", device[1] if len(device) > 1 else NOT_YET],
            ["CUDA", ", ".join(cuda) or NOT_YET],
            ["copy, device to device", show(r.counter("copy/N:2^28", "GB/s"), "{:.0f} GB/s")]]
    return table(["", ""], rows)


COMPILED = ("Every kernel of the library compiles for sm_80 and sm_90 with stack 0 and spill 0 (`cost.ptxas.sm_80` and\n"
            "`cost.ptxas.sm_90` of the tests, nvcc 13.0.88).")


def targets():
    """In words, for a page without tables."""
    share = dict(TARGETS)[r"^inner_step/adamw/"]
    return (f"The targets: AdamW's step, sweep A of four compressors and sweep B of two messages at ≥ {share} % of a copy, a local round\n"
            f"of 2^30 parameters in ≤ {ROUND_MILLISECONDS} ms. PyTorch takes ≥ {PYTORCH_TARGETS['local_outer_flat_fresh']}× as long for a "
            f"local outer step and ≥ {PYTORCH_TARGETS['adamw_flat_fused']}× for AdamW.\n"
            f"A step beside a copy to the host is ≤ {SLOWER_PERCENT} % slower.")


def page(folder):
    r = results(folder)
    if not r.runs and not r.peers:
        return "\n\n".join(["# On a GPU", "Nothing here has been measured yet.\n" + COMPILED, targets(),
                            "`report.py` writes this page; what fills it:", COMMANDS]) + "\n"
    b, other_b = [[f"sweep_b/{c}/K:{k}" for c in list_ for k in (1, 2, 8)] for list_ in (COMPRESSORS, OTHERS)]
    checked = [f"checked_step/{s}{clip}" for s in STEPS for clip in ("", "/clipped")]
    state = "Times are means of ten; `% of copy`, a median, is the share that a sweep's own bytes reach of a copy's in turn with it. "
    return "\n\n".join([
        "# On a GPU", state + COMPILED + " `report.py` writes this page; what fills it:", COMMANDS, facts(r),
        "## Inner steps", "Without the engine's checks (the kernel), by CUDA events:", sweeps(r, [f"inner_step/{s}" for s in STEPS]),
        "As a trainer takes them, by the wall clock, 4 B/param more for the gradients' check, clipped or not:", sweeps(r, checked),
        "## Sweep A: encode, with error feedback", sweeps(r, [f"sweep_a/{c}" for c in COMPRESSORS]),
        "The other compressors, at one size:", sweeps(r, [f"sweep_a/{c}" for c in OTHERS], SIZES[:1]),
        "## Sweep B: K wires and Nesterov", sweeps(r, b), "The other compressors, at one size:", sweeps(r, other_b, SIZES[:1]),
        "## A whole local round", "Sweep A, an exchange of one, sweep B, by the wall clock:", rounds(r),
        "## Against Thrust by parts", "The same formulas as transforms and reductions over whole columns:", parts(r),
        "## Against PyTorch", "2^28 parameters, medians over alternations (`bench/peers/run.py --device cuda`):", peers(r),
        "## While something is sent", "An AdamW step beside a copy to the host on a second stream, which stands in for an exchange "
        "between devices:", overlap(r)]) + "\n"
