#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden fixtures: what PyTorch (and NumPy where PyTorch has no such optimizer) computes in float32.

    /usr/bin/python3 make_goldens.py           rewrites fixtures/ and prints each distance to a float64 replay
    /usr/bin/python3 make_goldens.py --check   replays the recorded gradients; fails when an answer in a file moved

The problem is a two-layer tanh network (4 inputs, 6 hidden, 1 output: 37 parameters in four tensors) on mini-batches
of 8: small, non-convex, noisy. Its fourth input is always zero, so six weights never see a gradient: their Adam
denominator is eps alone and their Lion sign is sign(0). Every gradient is recorded, so the C++ side needs no autograd
and does not depend on whose matrix product rounds how; it replays them and must arrive at the same parameters.

Hyper-parameters are rounded to float32 before PyTorch sees them, for that is what the library stores: 1 - 0.9f is
2.4e-7 away from 1 - 0.9 and 1 - 0.999f is 4.7e-5 away from 1 - 0.999, which is another trajectory, not an error.

The files are safetensors (fixture.py), all of float32 but layout. Optimizer files: hyper-parameters (one number),
start.T, grad.T (steps x size), after.S.T for S = 1, 10, 100, and the slots after the last step as slot.NAME.T. Outer
files: start.T, tokens.K and grad.K.T for worker K (one number and one row per step), anchor.R.T after R = 1, 2, 20 rounds,
momentum.T at the end, exp_avg.K.T at the end. family and outer_family: the same for each optimizer of by_hand.FAMILY, as
OPTIMIZER.after.S.T and so on, in the first on displacements as grad.T, in the second on outer_k2's gradients. compressors: input.T and what each codec gives back for it as CODEC.T.
layout: one tensor of each type, for the reader itself.
"""
import argparse
import math
import pathlib
import sys

import numpy as np
import torch

import by_hand
from by_hand import ByHand
from fixture import bfloat16, read_fixture, serialize, write_fixture

HERE = pathlib.Path(__file__).resolve().parent / "fixtures"
SHAPES = {"w1": (6, 4), "b1": (6,), "w2": (1, 6), "b2": (1,)}
SNAPSHOTS = (1, 10, 100)
INNER_STEPS, ROUNDS, ROUND_SNAPSHOTS = 5, 20, (1, 2, 20)


def single(x):
    """The float32 nearest to x, as a Python float."""
    return float(np.float32(x))


# --------------------------------------------------------------------------------------------------------- the problem
def start():
    make = torch.Generator().manual_seed(20240607)
    return {n: (0.5 * torch.randn(s, generator=make)).requires_grad_() for n, s in SHAPES.items()}


class Problem:
    """Gradients of one worker's shard. Each worker draws other points around another centre (not i.i.d.)."""

    def __init__(self, worker):
        self.draw = torch.Generator().manual_seed(1000 + worker)
        self.centre = 0.3 * worker

    def gradient(self, parameters, step):
        x = torch.randn((8, 4), generator=self.draw) + self.centre
        x[:, 3] = 0.0
        y = torch.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
        p = {n: t.detach().float().requires_grad_() for n, t in parameters.items()}
        hidden = torch.tanh(x @ p["w1"].t() + p["b1"])
        loss = ((hidden @ p["w2"].t() + p["b2"]).squeeze(1) - y).square().mean()
        return dict(zip(p, torch.autograd.grad(loss, list(p.values()))))


class Recording:
    """The same interface, replayed from a fixture."""

    def __init__(self, entries, prefix):
        self.rows = {n: entries[f"{prefix}.{n}"].reshape(-1, *SHAPES[n]) for n in SHAPES}

    def gradient(self, parameters, step):
        return {n: torch.from_numpy(rows[step].copy()) for n, rows in self.rows.items()}


# ------------------------------------------------------------------------------------------------------ the optimizers
def optimizer_cases():
    """name -> (hyper-parameters, factory, slots: name in PyTorch's state -> name in the fixture)"""
    s = single
    sgd = lambda h: lambda p: torch.optim.SGD(p, lr=h["lr"], momentum=h["momentum"], nesterov=bool(h["nesterov"]),
                                              weight_decay=h["weight_decay"], dampening=h.get("dampening", 0.0),
                                              foreach=False)
    # eps is large enough to see on which side of the bias correction it stands; the outer loops have the usual 1e-8.
    adamw = dict(lr=s(5e-3), beta1=s(.9), beta2=s(.95), eps=s(1e-3), weight_decay=s(.1))
    plain = dict(lr=s(.05), momentum=0.0, nesterov=0.0, weight_decay=0.0)
    heavy = dict(lr=s(.01), momentum=s(.9), nesterov=0.0, weight_decay=0.0)
    ahead = dict(lr=s(.01), momentum=s(.9), nesterov=1.0, weight_decay=s(.1))
    damped = dict(lr=s(.04), momentum=s(.8), dampening=s(.6), nesterov=0.0, weight_decay=s(.05))
    lion = dict(lr=s(2e-3), beta1=s(.9), beta2=s(.99), weight_decay=s(.3))
    signum = dict(lr=s(2e-3), beta=s(.9), weight_decay=s(.3))
    free = dict(adamw, lr=s(2e-2), warmup=10.0, r=0.5, weight_power=2.0)
    return {
        "adamw": (adamw, make_adamw(adamw), {"exp_avg": "m", "exp_avg_sq": "v"}),
        "adam": (adamw, make_adamw(adamw, torch.optim.Adam), {"exp_avg": "m", "exp_avg_sq": "v"}),
        "sgd": (plain, sgd(plain), {}),
        "sgd_momentum": (heavy, sgd(heavy), {"momentum_buffer": "momentum"}),
        "sgd_nesterov_decay": (ahead, sgd(ahead), {"momentum_buffer": "momentum"}),
        "sgd_dampening": (damped, sgd(damped), {"momentum_buffer": "momentum"}),
        "lion": (lion, lambda p: ByHand(p, by_hand.lion, ["m"], lion), {"m": "m"}),
        "schedule_free_adamw": (free, lambda p: ByHand(p, by_hand.schedule_free_adamw, ["x", "z", "v", "weights"], free),
                                {"x": "x", "z": "z", "v": "v"}),
        "signum": (signum, lambda p: ByHand(p, by_hand.signum, ["m"], signum), {"m": "m"}),
    }


def make_adamw(h, kind=torch.optim.AdamW):
    return lambda p: kind(p, lr=h["lr"], betas=(h["beta1"], h["beta2"]), eps=h["eps"], weight_decay=h["weight_decay"],
                          foreach=False)


def values(tensors):
    return {n: t.detach().numpy().copy() for n, t in tensors.items()}


def as_leaves(tensors, dtype):
    return {n: t.detach().clone().to(dtype).requires_grad_() for n, t in tensors.items()}


def run_optimizer(hyper, factory, slots, problem, dtype=torch.float32):
    parameters = as_leaves(start(), dtype)
    optimizer = factory(list(parameters.values()))
    entries = {**hyper, **{f"start.{n}": v for n, v in values(parameters).items()}}
    recorded = {n: [] for n in SHAPES}
    for step in range(SNAPSHOTS[-1]):
        for n, g in problem.gradient(parameters, step).items():
            recorded[n].append(g.numpy().copy())
            parameters[n].grad = g.to(dtype)
        optimizer.step()
        if step + 1 in SNAPSHOTS:
            entries.update({f"after.{step + 1}.{n}": v for n, v in values(parameters).items()})
    entries.update({f"grad.{n}": np.stack(rows) for n, rows in recorded.items()})
    for torch_name, slot in slots.items():
        for n, p in parameters.items():
            entries[f"slot.{slot}.{n}"] = optimizer.state[p][torch_name].numpy().copy()
    return entries


class Displacements:
    """The input of outer optimizers instead of gradients: Δ of one worker after INNER_STEPS of Adam, from an anchor
    that Nesterov moves. There is no decay, so a weight without a gradient has Δ = 0. The parameters passed in are not
    used."""

    def __init__(self):
        self.problem, self.anchor, self.theta = Problem(0), as_leaves(start(), torch.float32), as_leaves(start(), torch.float32)
        self.inner = torch.optim.Adam(list(self.theta.values()), lr=1e-2, foreach=False)
        self.outer = torch.optim.SGD(list(self.anchor.values()), lr=.5, momentum=.8, nesterov=True, foreach=False)

    def gradient(self, parameters, step):
        for h in range(INNER_STEPS):
            for n, g in self.problem.gradient(self.theta, h).items():
                self.theta[n].grad = g
            self.inner.step()
        deltas = {n: (self.anchor[n] - self.theta[n]).detach() for n in SHAPES}
        outer_round(self.anchor, [self.theta], [1.0], self.outer)
        return deltas


def family():
    """name -> (hyper-parameters, factory, slots that are compared)"""
    table = {}
    for name, (update, slots, own, hyper) in by_hand.FAMILY.items():
        hyper = {n: single(x) for n, x in hyper.items()}
        table[name] = (hyper, lambda p, u=update, s=slots + own, h=hyper: ByHand(p, u, s, h), slots)
    return table


def run_family(make_problem, dtype=torch.float32):
    """Runs each optimizer on the same Δ, one after another."""
    entries = {}
    for name, (hyper, factory, slots) in family().items():
        one = run_optimizer(hyper, factory, {s: s for s in slots}, make_problem(), dtype)
        entries.update({e if e.split(".")[0] in ("start", "grad") else f"{name}.{e}": v for e, v in one.items()})
    return entries


# ------------------------------------------------------------------------------------------------------ the outer loop
def tokens_of(worker):
    """Tokens that each step of this worker saw: uneven between workers, steps and rounds."""
    return np.random.default_rng(77 + worker).integers(64, 1024, INNER_STEPS * ROUNDS).astype(np.float32)


def outer_round(anchor, workers, weights, outer):
    """Δ = anchor − θ, weighted mean, one step of PyTorch's SGD on the anchor. Then all workers start from the anchor."""
    with torch.no_grad():
        for n in SHAPES:
            deltas = [w * (anchor[n] - theta[n]) for w, theta in zip(weights, workers)]
            anchor[n].grad = sum(deltas) / sum(weights)
        outer.step()
        for theta in workers:
            for n in SHAPES:
                theta[n].copy_(anchor[n])


def make_nesterov(h):
    return lambda p: torch.optim.SGD(p, **h, nesterov=True, foreach=False)


OUTER_NESTEROV = dict(lr=single(.7), momentum=single(.9))


def run_outer(count, problems, dtype=torch.float32, hyper=OUTER_NESTEROV, factory=make_nesterov(OUTER_NESTEROV),
              slots={"momentum_buffer": "momentum"}):
    """`slots`: name in the optimizer's state -> name in the fixture."""
    inner_hyper = dict(lr=single(1e-2), beta1=single(.9), beta2=single(.95), eps=single(1e-8), weight_decay=single(.1))
    anchor = as_leaves(start(), dtype)
    workers = [as_leaves(start(), dtype) for _ in range(count)]
    inners = [make_adamw(inner_hyper)(list(w.values())) for w in workers]
    outer = factory(list(anchor.values()))
    entries = {f"inner.{n}": v for n, v in inner_hyper.items()}
    entries.update({f"outer.{n}": v for n, v in hyper.items()})
    entries.update({f"start.{n}": v for n, v in values(anchor).items()})
    recorded = [{n: [] for n in SHAPES} for _ in range(count)]
    for r in range(ROUNDS):
        for k in range(count):
            for h in range(INNER_STEPS):
                for n, g in problems[k].gradient(workers[k], r * INNER_STEPS + h).items():
                    recorded[k][n].append(g.numpy().copy())
                    workers[k][n].grad = g.to(dtype)
                inners[k].step()
        window = slice(r * INNER_STEPS, (r + 1) * INNER_STEPS)
        outer_round(anchor, workers, [float(tokens_of(k)[window].sum()) for k in range(count)], outer)
        if r + 1 in ROUND_SNAPSHOTS:
            entries.update({f"anchor.{r + 1}.{n}": v for n, v in values(anchor).items()})
    for own, name in slots.items():
        entries.update({f"{name}.{n}": outer.state[p][own].numpy() for n, p in anchor.items()})
    for k in range(count):
        entries[f"tokens.{k}"] = tokens_of(k)
        entries.update({f"grad.{k}.{n}": np.stack(rows) for n, rows in recorded[k].items()})
        entries.update({f"exp_avg.{k}.{n}": inners[k].state[p]["exp_avg"].numpy() for n, p in workers[k].items()})
    return entries


def run_outer_family(recorded, dtype=torch.float32):
    """Runs the loop of outer_k2 on its recorded gradients with every other outer optimizer."""
    entries = {}
    for name, (hyper, factory, slots) in family().items():
        problems = [Recording(recorded, f"grad.{k}") for k in range(2)]
        one = run_outer(2, problems, dtype, hyper, factory, {s: f"slot.{s}" for s in slots})
        entries.update({f"{name}.{e}": v for e, v in one.items() if e.split(".")[0] in ("outer", "anchor", "slot")})
    return entries


# ----------------------------------------------------------------------------------------------------- the compressors
def codec_inputs():
    draw = np.random.default_rng(5)
    spread = draw.standard_normal(300).astype(np.float32) * np.float32(1e-3)  # one block of 256 and a tail of 44
    spread[17], spread[40] = 2.5, 0.0                                         # an outlier, and a zero among others
    tiny = np.array([1e-38, 1e-40, -1e-41, 3e-39, -1e-45, 0, 2e-38, 1e-30], np.float32)  # denormals under a larger amax
    return {
        "spread": spread,
        "zeros": np.array([0, -0.0, 0, 0, -0.0], np.float32),
        "tiny": tiny,
        "ties8": np.array([127, .5, 1.5, 2.5, -.5, -1.5, -2.5, 125.5, 126.5, -126.5], np.float32),
        "ties4": np.array([7, .5, 1.5, 2.5, -.5, -1.5, -2.5, 5.5, 6.5, -6.5], np.float32),
        "one": np.array([-3.25], np.float32),
    }


def blocks(x, size=256):
    return [x[i:i + size] for i in range(0, len(x), size)]


def absmax(levels):
    def codec(block):
        level, amax = np.float32(levels), np.abs(block).max()
        if amax == 0:
            return np.zeros_like(block)
        # The product of two float32 is exact in float64, so rint is its only rounding, as in a fused x·scale + 1.5·2²³.
        # Adding 0 turns -0 into +0, because an integer code has one zero.
        q = (np.rint(block.astype(np.float64) * np.float64(level / amax)) + 0).astype(np.float32)
        return (q * (np.float32(1) / level)) * amax
    return lambda x: np.concatenate([codec(b) for b in blocks(x)])


def sign(x):
    """±mean |x|; an exact zero votes +, and a block of zeros gives zeros."""
    one = lambda b: np.where(b < 0, -1, 1) * np.float32(np.abs(b.astype(np.float64)).mean())
    return np.concatenate([one(b) for b in blocks(x)])


def run_codecs():
    through = lambda dtype: lambda x: torch.from_numpy(x).to(dtype).float().numpy()
    codecs = {"absmax8": absmax(127), "absmax4": absmax(7), "sign": sign,
              "f16": through(torch.float16), "bf16": through(torch.bfloat16)}
    entries = {f"input.{n}": x for n, x in codec_inputs().items()}
    for name, codec in codecs.items():
        entries.update({f"{name}.{n}": codec(x) for n, x in codec_inputs().items()})
    return entries


# ------------------------------------------------------------------------------------------------- the format by itself
def layout():
    """The entries that tests/unit/safetensors.cpp expects."""
    a = np.array
    entries = {
        "matrix": a([[1.5, -2, 0], [3e-45, -0.0, 6]], np.float32), "none": np.zeros((0, 4), np.float32),
        "scalar": a(-1 / 3, np.float64), "i64": a([-1, -2**63], np.int64), "u64": a([[2**64 - 1]], np.uint64),
        "i32": a([-7, 8, 9], np.int32), 'θ\u0304 "quoted"\\\n\x01/': a([0xDEADBEEF], np.uint32),
        "i16": a([-300], np.int16), "u16": a([65535], np.uint16), "f16": a([1, -2, 65504], np.float16),
        "bf16": bfloat16([0x3F80, 0xFF80]), "u8": a([0, 255, 1], np.uint8), "i8": a([-128, 127], np.int8),
        "flags": a([True, False, True]),
    }
    return serialize(entries, {"about": "every type, 🐍", "z": "last\t"})


# --------------------------------------------------------------------------------------------------------------- main
def distance(entries, reference):
    """Largest |difference| relative to the largest |value| of its tensor, over all answers (not inputs)."""
    worst = 0.0
    for name, got in entries.items():
        if not set(name.split(".")) & {"after", "slot", "anchor", "momentum", "exp_avg"}:
            continue
        want = np.ravel(np.asarray(reference[name], np.float64))
        gap = np.abs(np.ravel(np.asarray(got, np.float64)) - want).max()
        worst = max(worst, gap / max(np.abs(want).max(), 1e-30))
    return worst


def jobs(folder):
    """file -> (what it is, how to run it from live problems, how to replay it from its own entries in some dtype)"""
    table = {}
    for name, case in optimizer_cases().items():
        table[name] = (f"{name}: 100 steps on recorded gradients",
                       lambda case=case: run_optimizer(*case, Problem(0)),
                       lambda e, dtype, case=case: run_optimizer(*case, Recording(e, "grad"), dtype))
    for count in (1, 2, 4):
        table[f"outer_k{count}"] = (
            f"DiLoCo with K = {count}: {ROUNDS} rounds of {INNER_STEPS} AdamW steps, outer Nesterov, token weights",
            lambda count=count: run_outer(count, [Problem(k) for k in range(count)]),
            lambda e, dtype, count=count: run_outer(count, [Recording(e, f"grad.{k}") for k in range(count)], dtype))
    table["family"] = ("outer optimizers: 100 steps on the same displacements", lambda: run_family(Displacements),
                       lambda e, dtype: run_family(lambda: Recording(e, "grad"), dtype))
    played = lambda: read_fixture(folder / "outer_k2.safetensors")
    table["outer_family"] = ("outer optimizers in the loop of outer_k2, on its gradients",
                             lambda: run_outer_family(played()), lambda e, dtype: run_outer_family(played(), dtype))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="replay the files instead of writing them")
    parser.add_argument("--fixtures", type=pathlib.Path, default=HERE, help="folder of the fixtures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    failures = 0
    for name, (about, make, replay) in jobs(options.fixtures).items():
        path = options.fixtures / f"{name}.safetensors"
        if not options.check:
            write_fixture(path, about, make())
        recorded = read_fixture(path)
        moved = distance(replay(recorded, torch.float32), recorded)
        exact = distance(recorded, replay(recorded, torch.float64))
        failures += not moved <= 2e-7
        print(f"{name:20s} replay moved {moved:.1e}   float32 is {exact:.1e} away from float64")
    path = options.fixtures / "compressors.safetensors"
    if not options.check:
        write_fixture(path, "what each codec gives back; blocks of 256", run_codecs())
    recorded = read_fixture(path)
    moved = [n for n, v in run_codecs().items() if np.asarray(v, np.float32).tobytes() != recorded[n].tobytes()]
    print(f"compressors          {'as recorded' if not moved else 'moved: ' + ' '.join(moved)}")
    path = options.fixtures / "layout.safetensors"
    if not options.check:
        path.write_bytes(layout())
    if path.read_bytes() != layout():
        failures += 1
        print("layout               moved")
    return 1 if failures or moved else 0


if __name__ == "__main__":
    sys.exit(main())
