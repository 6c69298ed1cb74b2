#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""diloco and PyTorch side by side in one run: one Markdown table of ratios.

    run.py --peer build/bench/peers/diloco_peer [--python /usr/bin/python3] [--alternations 5] [--json out.json]
    run.py --device cuda --peer build/bench/cuda/diloco_peer_cuda [--parameters 268435456]

Both programs stay alive and answer "WORK REPEAT" requests; the one that is not asked sleeps. The two sides of a row are
measured back to back, first one then the other leading, so what the machine does meanwhile meets both. A row's ratio is
the median over the alternations of (PyTorch's median / diloco's median), its range beside it; `best` is the ratio of
the two fastest steps of the run, which other programs on the machine disturb least.
"""
import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# what the reader sees, PyTorch's work, diloco's work
LOCAL_ROWS = [
    ("AdamW, 1 tensor", "adamw_flat_loop", "adamw_flat"),
    ("AdamW, 1 tensor", "adamw_flat_foreach", "adamw_flat"),
    ("AdamW, 101 tensors", "adamw_list_loop", "adamw_list"),
    ("AdamW, 101 tensors", "adamw_list_foreach", "adamw_list"),
    ("SGD, 1 tensor", "sgd_flat_foreach", "sgd_flat"),
    ("SGD, 101 tensors", "sgd_list_foreach", "sgd_list"),
    ("Lion, 1 tensor", "lion_flat_foreach", "lion_flat"),
    ("Lion, 101 tensors", "lion_list_foreach", "lion_list"),
    ("local outer step, 1 tensor", "local_outer_flat_fresh", "local_outer_flat_absmax8"),
    ("local outer step, 1 tensor", "local_outer_flat_reuse", "local_outer_flat_absmax8"),
    ("local outer step, 1 tensor", "local_outer_flat_foreach", "local_outer_flat_absmax8"),
    ("local outer step, 101 tensors", "local_outer_list_fresh", "local_outer_list_absmax8"),
    ("local outer step, 101 tensors", "local_outer_list_reuse", "local_outer_list_absmax8"),
    ("local outer step, 101 tensors", "local_outer_list_foreach", "local_outer_list_absmax8"),
]
WHOLE_ROWS = [
    ("whole outer step, K = 2", "whole_outer_gloo_f32_fresh", "whole_outer_threads_absmax8"),
    ("whole outer step, K = 2", "whole_outer_gloo_f32_reuse", "whole_outer_threads_absmax8"),
    ("whole outer step, K = 2", "whole_outer_gloo_f32_fresh", "whole_outer_threads_f32"),
    ("whole outer step, K = 2", "whole_outer_gloo_f32_reuse", "whole_outer_threads_f32"),
]
# On a device: PyTorch's fused AdamW, and the part of a round that one process does.
CUDA_ROWS = [
    ("AdamW, 1 tensor", "adamw_flat_fused", "adamw_flat"),
    ("AdamW, 101 tensors", "adamw_list_fused", "adamw_list"),
    *[row for row in LOCAL_ROWS if row[1].endswith(("_foreach", "_fresh", "_reuse"))],
]


class Server:
    """A peer program that answers one request per line."""

    def __init__(self, command):
        self.command = command
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def samples(self, work, repeat):
        try:
            self.process.stdin.write(f"{work} {repeat}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            sys.exit(f"run.py: {self.command[0]} ended while measuring {work}")
        return json.loads(line)["ms"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Row:
    def __init__(self, title, torch_work, diloco_work, threads):
        self.title, self.torch_work, self.diloco_work, self.threads = title, torch_work, diloco_work, threads
        self.torch, self.diloco = [], []  # one list of samples per alternation

    def measure(self, torch, diloco, repeat, torch_leads):
        sides = [(torch, self.torch_work, self.torch), (diloco, self.diloco_work, self.diloco)]
        for server, work, samples in sides if torch_leads else reversed(sides):
            samples.append(server.samples(work, repeat))

    def ratios(self):
        return [statistics.median(t) / statistics.median(d) for t, d in zip(self.torch, self.diloco)]

    def best(self):
        return min(map(min, self.torch)) / min(map(min, self.diloco))

    def markdown(self):
        def show(samples):
            medians = [statistics.median(s) for s in samples]
            return f"{statistics.median(medians):.1f} ({min(medians):.1f}–{max(medians):.1f})"
        ratio = self.ratios()
        return (f"| {self.title} | {self.threads} | `{self.torch_work}` | {show(self.torch)} | "
                f"`{self.diloco_work}` | {show(self.diloco)} | "
                f"**{statistics.median(ratio):.2f}×** ({min(ratio):.2f}–{max(ratio):.2f}) | {self.best():.2f}× |")

    def record(self):
        return dict(title=self.title, threads=self.threads, torch_work=self.torch_work, torch_ms=self.torch,
                    diloco_work=self.diloco_work, diloco_ms=self.diloco,
                    ratio=statistics.median(self.ratios()), best=self.best())


def machine(options):
    if options.device == "cuda":
        ask = "import torch; print(torch.cuda.get_device_name(0) + ', CUDA ' + torch.version.cuda + ' of PyTorch')"
        return subprocess.run([options.python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next((l.split(":")[1].strip() for l in lines if l.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def measure(options, threads, rows, note):
    how = ["--serve", "--threads", str(threads)]
    on = ["--device", options.device]
    if options.device == "cuda":
        how += ["--parameters", str(options.parameters)]
    torch = Server([options.python, str(HERE / "pytorch_peer.py"), *on, *how])
    diloco = Server([options.peer, *how])
    for i in range(options.alternations):
        for row in rows:
            note(f"alternation {i + 1} of {options.alternations}, {threads} thread(s): {row.title}, {row.torch_work}")
            row.measure(torch, diloco, options.repeat, torch_leads=i % 2 == 0)
    torch.close()
    diloco.close()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True, help="the diloco_peer program")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--parameters", type=int, default=1 << 28, help="on a device; on the host there are 2^24")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], choices=(1, 2), help="on the host")
    parser.add_argument("--alternations", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5, help="timed steps per request")
    parser.add_argument("--only", default="", help="rows whose work names contain this")
    parser.add_argument("--json", type=pathlib.Path, help="where to write every sample")
    options = parser.parse_args()
    note = lambda text: print(text, file=sys.stderr, flush=True)
    chosen = lambda rows: [r for r in rows if options.only in r[1] or options.only in r[2]]
    load_before = os.getloadavg()[0]
    rows = []
    on_device = options.device == "cuda"
    for threads in [1] if on_device else options.threads:
        table = CUDA_ROWS if on_device else LOCAL_ROWS + (WHOLE_ROWS if threads == 1 else [])
        rows += measure(options, threads, [Row(*r, threads) for r in chosen(table)], note)
    version = subprocess.run([options.python, "-c", "import torch; print(torch.__version__)"], check=True,
                             capture_output=True, text=True).stdout.strip()
    elements = options.parameters if on_device else 1 << 24
    print(f"{machine(options)}; PyTorch {version}; N = {elements:,} fp32; {options.alternations} alternations of "
          f"{options.repeat} steps, medians (range); load {load_before:.1f} before, {os.getloadavg()[0]:.1f} after\n")
    print("| work | threads | PyTorch | ms | diloco | ms | PyTorch / diloco | best |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(row.markdown())
    if options.json:
        options.json.write_text(json.dumps([r.record() for r in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
