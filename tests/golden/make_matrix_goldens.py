#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden fixtures of the optimizers that need whole tensors, muon*, adafactor, soap, and of ivon, by NumPy in float32.

    /usr/bin/python3 make_matrix_goldens.py           rewrites them and prints each distance to a float64 replay
    /usr/bin/python3 make_matrix_goldens.py --check   replays them; fails when an answer in a file moved

The problem is e = w1 tanh(w2 x + b) - y on mini-batches in turn, three of them, with the loss sum e^2 / batch: two matrices,
one taller and one wider than square, and a vector (Muon leaves it alone). soap has square matrices: the first gradient
of another one has a null space, and which basis an eigensolver returns for that is nobody's promise.

Gradients are not recorded: both sides compute them in float64 from the float32 parameters, so what the optimizer does to
its own input counts too. Entries: hyper-parameters (count 1), x (samples, in), y (samples, out), start.T, after.S.T for
S = 1, 10, 100, and the state after the last step as state.NAME.T, as far as it is one number per element.
"""
import argparse
import pathlib
import sys

import numpy as np

from make_goldens import HERE, read_fixture, single, write_fixture

SUFFIX = next(HERE.glob("adamw.*")).suffix
SNAPSHOTS = (1, 10, 100)
BATCHES = 3


class Network:
    """Shapes, data and gradients."""

    def __init__(self, out, hidden, inputs, batch):
        self.shapes = {"w1": (out, hidden), "w2": (hidden, inputs), "b": (hidden,)}
        self.batch = batch
        draw = np.random.default_rng(20240607)
        self.x = draw.standard_normal((BATCHES * batch, inputs)).astype(np.float32)
        self.y = np.sin(2 * draw.standard_normal((BATCHES * batch, out))).astype(np.float32)
        self.start = {n: (0.4 * draw.standard_normal(s)).astype(np.float32) for n, s in self.shapes.items()}

    def gradients(self, parameters, step, dtype):
        rows = slice(step % BATCHES * self.batch, (step % BATCHES + 1) * self.batch)
        x, y = self.x[rows].astype(np.float64), self.y[rows].astype(np.float64)
        w1, w2, b = (parameters[n].astype(np.float64) for n in ("w1", "w2", "b"))
        h = np.tanh(x @ w2.T + b)
        e = (2.0 / self.batch) * (h @ w1.T - y)
        z = (e @ w1) * (1 - h * h)
        return {n: g.astype(dtype) for n, g in {"w1": e.T @ h, "w2": z.T @ x, "b": z.sum(axis=0)}.items()}


# ------------------------------------------------------------------------------------------------------ the optimizers
class Muon:
    """Keller Jordan's and dion's formulas; hyper-parameters in double, every operation on a tensor in its own type."""
    DION = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
            (2.8366, -3.0525, 1.2012))

    def __init__(self, h, shape, dtype):
        self.h, self.state = h, {"momentum": np.zeros(shape, dtype)}

    def step(self, p, g, t):
        h, m, cast = self.h, self.state["momentum"], p.dtype.type
        if p.ndim != 2:
            return
        if h["average"] == 0:
            m += cast(1 - h["momentum"]) * (g - m)
            u = m + cast(1 - h["momentum"]) * (g - m) if h["nesterov"] else m
        else:
            m *= cast(h["momentum"])
            m += g
            u = g + cast(h["momentum"]) * m if h["nesterov"] else m
        x = u.T if p.shape[0] > p.shape[1] else u
        x = x / max(np.sqrt((x * x).sum()), cast(1e-7))
        for i in range(5):
            a, b, c = map(cast, self.DION[i] if h["coefficients"] else (3.4445, -4.7750, 2.0315))
            square = x @ x.T
            x = a * x + (b * square + c * (square @ square)) @ x
        rows, columns = p.shape
        scale = {0: max(1.0, rows / columns) ** 0.5, 1: 0.2 * max(rows, columns) ** 0.5, 2: (rows / columns) ** 0.5}
        p *= cast(1 - h["lr"] * h["weight_decay"])
        p -= cast(h["lr"] * scale[int(h["scaling"])]) * (x.T if rows > columns else x)


class Adafactor:
    """torch.optim.Adafactor, line by line."""

    def __init__(self, h, shape, dtype):
        self.h, self.state = h, {"v": np.zeros(shape, dtype)} if len(shape) == 1 else {}
        self.row, self.column = (np.zeros((shape[0], 1), dtype), np.zeros((1, shape[-1]), dtype))

    def step(self, p, g, t):
        h, cast = self.h, p.dtype.type
        weight = cast(t ** h["beta2_decay"])
        rms = lambda x: np.sqrt((x * x).sum()) / cast(x.size ** 0.5)
        alpha = max(cast(h["eps2"]), rms(p)) * cast(min(h["lr"], t ** -0.5))
        p *= cast(1 - h["lr"] * h["weight_decay"])
        if p.ndim == 2:
            self.row += weight * ((g * g).mean(axis=1, keepdims=True) - self.row)
            self.column += weight * ((g * g).mean(axis=0, keepdims=True) - self.column)
            v = self.row @ self.column / max(self.row.mean(), cast(h["eps1"]))
        else:
            self.state["v"] += weight * (g * g - self.state["v"])
            v = self.state["v"]
        u = g / np.sqrt(np.maximum(v, cast(h["eps1"] ** 2)))
        p -= alpha / max(cast(1), rms(u) / cast(h["d"])) * u


class Soap:
    """The reference implementation's order: the first step only initializes, a refresh comes after the step."""

    def __init__(self, h, shape, dtype):
        self.h, self.state = h, {"m": np.zeros(shape, dtype), "v": np.zeros(shape, dtype)}
        sides = shape if len(shape) == 2 else ()
        self.squares = [np.zeros((n, n), dtype) for n in sides]
        self.bases = []

    def turn(self, x, back=False):
        if not self.bases:
            return x
        left, right = self.bases
        return left @ x @ right.T if back else left.T @ x @ right

    def step(self, p, g, t):
        h, s, cast = self.h, self.state, p.dtype.type
        if t == 1:
            self.average(g)
            self.bases = [np.linalg.eigh(a)[1][:, ::-1] for a in self.squares]
            return
        b1, b2 = h["beta1"], h["beta2"]
        turned = self.turn(g)
        s["m"] = cast(b1) * s["m"] + cast(1 - b1) * turned
        s["v"] = cast(b2) * s["v"] + cast(1 - b2) * (turned * turned)
        rate = h["lr"] * (1 - b2 ** (t - 1)) ** 0.5 / (1 - b1 ** (t - 1))
        p -= cast(rate) * self.turn(s["m"] / (np.sqrt(s["v"]) + cast(h["eps"])), back=True)
        p -= cast(h["lr"] * h["weight_decay"]) * p
        self.average(g)
        if (t - 1) % h["frequency"] == 0 and self.bases:
            plain = self.turn(s["m"], back=True)
            for side in (0, 1):
                estimate = np.diag(self.bases[side].T @ self.squares[side] @ self.bases[side])
                order = np.argsort(-estimate, kind="stable")
                s["v"] = np.take(s["v"], order, axis=side)
                self.bases[side] = np.linalg.qr(self.squares[side] @ self.bases[side][:, order])[0]
            s["m"] = self.turn(plain)

    def average(self, g):
        if self.squares:
            weight = g.dtype.type(1 - self.h["beta2"])
            self.squares[0] += weight * (g @ g.T - self.squares[0])
            self.squares[1] += weight * (g.T @ g - self.squares[1])


# ---------------------------------------------------------------------------------------------------------------- ivon
def run_ivon(h, recorded=None, dtype=np.float32):
    """The official implementation's formulas on g = a sin(x) at x = p + noise; z is what the noise is drawn from."""
    draw = np.random.default_rng(20240402)
    count = 64
    given = recorded or {"a": draw.uniform(0.2, 2, count), "start": draw.standard_normal(count),
                         "z": draw.standard_normal((SNAPSHOTS[-1], count))}
    a, start, z = (np.asarray(given[n], np.float32) for n in ("a", "start", "z"))
    z = z.reshape(-1, count)
    entries = {**h, "a": a, "start": start, "z": z}
    cast = dtype
    p, m, hessian = start.astype(dtype), np.zeros(count, dtype), np.full(count, cast(h["h0"]), dtype)
    decay, ess, b1, b2 = cast(h["weight_decay"]), cast(h["ess"]), cast(h["beta1"]), cast(h["beta2"])
    for t in range(1, SNAPSHOTS[-1] + 1):
        noise = z[t - 1].astype(dtype) / np.sqrt(ess * (hessian + decay))
        x = (p + noise).astype(np.float64)
        g = (a.astype(np.float64) * np.sin(x)).astype(dtype)
        m = b1 * m + (1 - b1) * g
        f = g * noise * (hessian + decay) * ess
        hessian = b2 * hessian + (1 - b2) * f + cast(0.5) * (1 - b2) ** 2 * (hessian - f) ** 2 / (hessian + decay)
        direction = (m / cast(1 - h["beta1"] ** t) + decay * p) / (hessian + decay)
        p = p - cast(h["lr"] * (h["h0"] + h["weight_decay"])) * np.clip(direction, -cast(h["clip_radius"]), cast(h["clip_radius"]))
        if t in SNAPSHOTS:
            entries[f"after.{t}.p"] = p.copy()
    return entries | {"state.m": m, "state.h": hessian}


def ivon_numbers():
    s = single
    return dict(lr=s(.02), ess=400.0, beta1=s(.9), beta2=s(.98), weight_decay=s(.01), h0=s(.5), clip_radius=s(.8))


# --------------------------------------------------------------------------------------------------------------- main
def cases():
    s = single
    wide, square = dict(out=12, hidden=8, inputs=20, batch=10), dict(out=8, hidden=8, inputs=8, batch=24)
    muon = dict(lr=s(.02), momentum=s(.95), nesterov=1.0, weight_decay=s(.1), scaling=0.0, coefficients=0.0, average=0.0)
    dion = dict(lr=s(.01), momentum=s(.9), nesterov=0.0, weight_decay=0.0, scaling=1.0, coefficients=1.0, average=1.0)
    # eps1 is large enough to matter, because a clamp that is never reached would not be tested.
    adafactor = dict(lr=s(.02), beta2_decay=s(-.8), eps1=s(5e-3), eps2=s(1e-3), d=1.0, weight_decay=s(.1))
    soap = dict(lr=s(3e-3), beta1=s(.95), beta2=s(.95), eps=s(1e-8), weight_decay=s(.01), frequency=10.0)
    spectral = dict(dion, nesterov=1.0, scaling=2.0, coefficients=0.0)
    return {"muon": (Muon, muon, wide), "muon_dion": (Muon, dion, wide), "muon_spectral": (Muon, spectral, wide),
            "adafactor": (Adafactor, adafactor, wide),
            "soap": (Soap, soap, square)}


def run(kind, h, sizes, dtype):
    network = Network(**sizes)
    entries = {**h, "batch": sizes["batch"], "x": network.x, "y": network.y}
    entries |= {f"start.{n}": v for n, v in network.start.items()}
    p = {n: v.astype(dtype) for n, v in network.start.items()}
    optimizers = {n: kind(h, s, dtype) for n, s in network.shapes.items()}
    for t in range(1, SNAPSHOTS[-1] + 1):
        g = network.gradients(p, t - 1, dtype)
        for n in p:
            optimizers[n].step(p[n], g[n], t)
        if t in SNAPSHOTS:
            entries |= {f"after.{t}.{n}": v.copy() for n, v in p.items()}
    return entries | {f"state.{slot}.{n}": v for n, o in optimizers.items() for slot, v in o.state.items()}


def distance(got, want, prefix):
    """Largest |difference| relative to the largest |value| of its tensor, over the entries of that prefix."""
    worst = 0.0
    for name in (n for n in want if n.startswith(prefix)):
        a, b = (np.ravel(np.asarray(e[name], np.float64)) for e in (got, want))
        worst = max(worst, np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="replay the files instead of writing them")
    parser.add_argument("--fixtures", type=pathlib.Path, default=HERE, help="folder of the fixtures")
    options = parser.parse_args()
    failures = 0
    path = options.fixtures / ("ivon" + SUFFIX)
    if not options.check:
        write_fixture(path, "ivon: 100 steps; by make_matrix_goldens.py", run_ivon(ivon_numbers()))
    recorded = read_fixture(path)
    numbers = {n: float(recorded[n][0]) for n in ivon_numbers()}
    moved = max(distance(run_ivon(numbers, recorded), recorded, prefix) for prefix in ("after.", "state."))
    failures += not moved <= 2e-5
    exact = run_ivon(numbers, recorded, np.float64)
    far = ", ".join(f"{distance(recorded, exact, f'after.{t}.'):.1e}" for t in SNAPSHOTS)
    print(f"ivon          replay moved {moved:.1e}   float32 is {far} away from float64, its state "
          f"{distance(recorded, exact, 'state.'):.1e}")
    for name, case in cases().items():
        path = options.fixtures / (name + SUFFIX)
        if not options.check:
            write_fixture(path, f"{name}: 100 steps; by make_matrix_goldens.py", run(*case, np.float32))
        recorded = read_fixture(path)
        moved = max(distance(run(*case, np.float32), recorded, prefix) for prefix in ("after.", "state."))
        failures += not moved <= 2e-5
        exact = run(*case, np.float64)
        far = ", ".join(f"{distance(recorded, exact, f'after.{t}.'):.1e}" for t in SNAPSHOTS)
        print(f"{name:13s} replay moved {moved:.1e}   float32 is {far} away from float64, its state "
              f"{distance(recorded, exact, 'state.'):.1e}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
