#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times in PyTorch the work that diloco_peer does: AdamW step, local outer step, whole outer step with K = 2.

    /usr/bin/python3 pytorch_peer.py [--threads 1|2] [--repeat 7]    every work once, one JSON line each
    /usr/bin/python3 pytorch_peer.py --serve                         reads "WORK REPEAT" lines from standard input
    python3 pytorch_peer.py --device cuda [--parameters 268435456]   the work of one process, timed with CUDA events
    a line it writes: {"work": "local_outer_flat_fresh", "ms": [74.1, 73.8]}

The outer step comes in three spellings: `fresh` allocates Δ every round as DiLoCo loops in PyTorch are written
(param.grad = anchor - param), `reuse` writes it into a kept gradient, `foreach` uses the multi-tensor functions.
Workers count alike, so PyTorch has no weights to multiply. Fused AdamW is CUDA-only in PyTorch 1.13, and only there measured.
Between timed steps θ drifts by about 1e-3, as inner steps would move it: a Δ of zero is not the work of a round.
"""
import argparse
import json
import multiprocessing
import os
import socket
import sys
import time

import torch
import torch.distributed as dist

PARAMETERS = 16_777_216
PARAMETERS_ON_CUDA = 1 << 28
DEVICE = "cpu"
WORKERS = 2


def shapes_of_a_gpt(total, width=384, layers=8):
    """A GPT's separately allocated tensors, largest 2.5 M and smallest 256 elements; 101 tensors, `total` in all."""
    layer = [(width,), (width,), (3 * width, width), (3 * width,), (width, width), (width,),
             (width,), (width,), (4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    shapes = layers * layer + [(width,), (width,), (256, width)]
    count = lambda shape: shape[0] * (shape[1] if len(shape) > 1 else 1)
    left = total - sum(map(count, shapes))
    return shapes + [(left // width, width)] + ([(left % width,)] if left % width else [])


def allocate(layout, scale):
    shapes = [(PARAMETERS,)] if layout == "flat" else shapes_of_a_gpt(PARAMETERS)
    return [torch.randn(s, device=DEVICE).mul_(scale) for s in shapes]


def wall_milliseconds(step):
    begin = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - begin)


def cuda_milliseconds(step):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def milliseconds(step, repeat, warm_up=2, before=lambda: None):
    """Time of each of `repeat` steps, by wall clock or CUDA events. `before` runs ahead of each, outside the timing."""
    clock = wall_milliseconds if DEVICE == "cpu" else cuda_milliseconds
    samples = []
    for _ in range(warm_up + repeat):
        before()
        samples.append(clock(step))
    return samples[warm_up:]


# ------------------------------------------------------------------------------------------------------- one process
def adamw(layout, foreach, repeat, **more):
    parameters = allocate(layout, 1.0)
    for p in parameters:
        p.grad = 1e-3 * torch.randn_like(p)
    optimizer = torch.optim.AdamW(parameters, lr=4e-4, betas=(.9, .999), weight_decay=.1, foreach=foreach, **more)
    return milliseconds(optimizer.step, repeat)


def adamw_fused(layout, repeat):
    return adamw(layout, None, repeat, fused=True)


def sgd(layout, foreach, repeat):
    parameters = allocate(layout, 1.0)
    for p in parameters:
        p.grad = 1e-3 * torch.randn_like(p)
    optimizer = torch.optim.SGD(parameters, lr=1e-2, momentum=.9, weight_decay=.01, foreach=foreach)
    return milliseconds(optimizer.step, repeat)


def lion(layout, foreach, repeat, lr=1e-4, b1=.9, b2=.99, decay=.1):
    """The authors' formula: PyTorch has no Lion."""
    parameters, gradients, moments = allocate(layout, 1.0), allocate(layout, 1e-3), allocate(layout, 1e-3)

    def loop():
        for p, g, m in zip(parameters, gradients, moments):
            p.mul_(1 - lr * decay)
            p.add_(m.mul(b1).add_(g, alpha=1 - b1).sign_(), alpha=-lr)
            m.mul_(b2).add_(g, alpha=1 - b2)

    def over_lists():
        torch._foreach_mul_(parameters, 1 - lr * decay)
        update = torch._foreach_mul(moments, b1)
        torch._foreach_add_(update, gradients, alpha=1 - b1)
        for u in update:  # 1.13 has no _foreach_sign_
            u.sign_()
        torch._foreach_add_(parameters, update, alpha=-lr)
        torch._foreach_mul_(moments, b2)
        torch._foreach_add_(moments, gradients, alpha=1 - b2)

    return milliseconds(over_lists if foreach else loop, repeat)


class OuterStep:
    """The part of a DiLoCo round that is not communication: Δ = anchor − θ, Nesterov on the anchor, θ ← anchor."""

    def __init__(self, layout, spelling):
        self.spelling = spelling
        self.theta = allocate(layout, 1.0)
        self.anchor = [t.clone() for t in self.theta]
        self.drift = [1e-3 * torch.randn_like(t) for t in self.theta]
        for a in self.anchor:
            a.grad = torch.zeros_like(a)
        self.optimizer = torch.optim.SGD(self.anchor, lr=.7, momentum=.9, nesterov=True, foreach=spelling == "foreach")

    def inner_steps(self):
        for t, d in zip(self.theta, self.drift):
            t.add_(d)

    def difference(self):
        if self.spelling == "foreach":
            for a, delta in zip(self.anchor, torch._foreach_sub(self.anchor, self.theta)):
                a.grad = delta
        for a, t in zip(self.anchor, self.theta):
            if self.spelling == "fresh":
                a.grad = a - t
            elif self.spelling == "reuse":
                torch.sub(a, t, out=a.grad)

    def exchange(self):
        pass

    def __call__(self):
        self.difference()
        self.exchange()
        self.optimizer.step()
        for a, t in zip(self.anchor, self.theta):
            t.copy_(a)

    def meet(self):
        self.inner_steps()

    def measure(self, repeat):
        return milliseconds(self, repeat, before=self.meet)


# --------------------------------------------------------------------------------------------------- two processes
class GlooOuterStep(OuterStep):
    def exchange(self):
        for a in self.anchor:
            dist.all_reduce(a.grad)
            a.grad.div_(WORKERS)

    def meet(self):
        self.inner_steps()
        dist.barrier()


@torch.no_grad()
def gloo_worker(rank, port, pipe):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    while (request := pipe.recv()) is not None:
        spelling, repeat = request
        torch.manual_seed(0)
        pipe.send(GlooOuterStep("flat", spelling).measure(repeat))
    dist.destroy_process_group()


class GlooWorld:
    """WORKERS processes of one thread each over loopback; idle ones sleep in recv."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self.pipes, self.workers = [], []
        for rank in range(WORKERS):
            ours, theirs = context.Pipe()
            worker = context.Process(target=gloo_worker, args=(rank, port, theirs), daemon=True)
            worker.start()
            self.pipes.append(ours)
            self.workers.append(worker)

    def measure(self, spelling, repeat):
        """A step takes as long as its slowest worker."""
        for pipe in self.pipes:
            pipe.send((spelling, repeat))
        return [max(times) for times in zip(*[pipe.recv() for pipe in self.pipes])]

    def close(self):
        for pipe in self.pipes:
            pipe.send(None)
        for worker in self.workers:
            worker.join()


# --------------------------------------------------------------------------------------------------------------- main
LOCAL = {f"{step.__name__}_{layout}_{spelling}": lambda n, s=step, l=layout, f=foreach: s(l, f, n)
         for step in (adamw, sgd, lion) for layout in ("flat", "list") for spelling, foreach in (("loop", False), ("foreach", True))}
LOCAL |= {f"local_outer_{layout}_{spelling}": lambda n, l=layout, s=spelling: OuterStep(l, s).measure(n)
          for layout in ("flat", "list") for spelling in ("fresh", "reuse", "foreach")}
FUSED = {f"adamw_{layout}_fused": lambda n, l=layout: adamw_fused(l, n) for layout in ("flat", "list")}
GLOO = {f"whole_outer_gloo_f32_{spelling}": spelling for spelling in ("fresh", "reuse")}


def works():
    """The works that a device measures, by name. Gloo connects host processes only."""
    return LOCAL | GLOO if DEVICE == "cpu" else LOCAL | FUSED


class Peer:
    world = None

    @torch.no_grad()
    def measure(self, work, repeat):
        known = works()
        if work not in known:
            sys.exit(f"pytorch_peer: unknown work '{work}' on {DEVICE}; known: {', '.join(known)}")
        if work not in GLOO:
            return known[work](repeat)
        self.world = self.world or GlooWorld()
        return self.world.measure(GLOO[work], repeat)

    def answer(self, work, repeat):
        print(json.dumps({"work": work, "ms": self.measure(work, repeat)}), flush=True)


def main():
    global DEVICE, PARAMETERS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--parameters", type=int, help="of each work; 2^24 on cpu, 2^28 on cuda")
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2), help="of AdamW and the local outer step")
    parser.add_argument("--repeat", type=int, default=7, help="timed steps of each work")
    parser.add_argument("--serve", action="store_true", help="answer requests from standard input until it closes")
    options = parser.parse_args()
    DEVICE = options.device
    PARAMETERS = options.parameters or (PARAMETERS if DEVICE == "cpu" else PARAMETERS_ON_CUDA)
    if DEVICE == "cuda" and not torch.cuda.is_available():
        sys.exit("pytorch_peer: PyTorch finds no CUDA device here, so nothing was measured")
    torch.set_num_threads(options.threads)
    peer = Peer()
    if options.serve:
        for line in sys.stdin:
            work, repeat = line.split()
            peer.answer(work, int(repeat))
    else:
        for work in works():
            peer.answer(work, options.repeat)
    if peer.world:
        peer.world.close()


if __name__ == "__main__":
    main()
