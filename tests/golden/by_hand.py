# SPDX-License-Identifier: Apache-2.0
"""Optimizers that PyTorch lacks, from the formulas of their papers by NumPy.

Each operation rounds in the parameter's own dtype, as the formula is printed, without a fused multiply-add. g is a
gradient, or a round's Δ if the paper is about an outer optimizer.
"""
import numpy as np
import torch


class ByHand:
    """As much of torch.optim.Optimizer as a trajectory needs. `update(p, g, s, t, h, c)` changes the parameter p and its
    slots s in place, at step t from 1, by hyper-parameters h (Python floats) that c rounds to the dtype."""

    def __init__(self, parameters, update, slots, hyper):
        self.parameters, self.update, self.hyper, self.steps = list(parameters), update, hyper, 0
        self.state = {p: {s: torch.zeros_like(p, requires_grad=False) for s in slots} for p in self.parameters}

    def step(self):
        self.steps += 1
        for p in self.parameters:
            slots = {name: value.numpy() for name, value in self.state[p].items()}
            values = p.detach().numpy()
            self.update(values, p.grad.numpy(), slots, self.steps, self.hyper, values.dtype.type)


def sign(x, scale):
    """The sign of a sum x of terms as large as `scale`. Raises if they nearly cancel, because rounding alone would then
    flip the sign."""
    assert np.all((x == 0) & (scale == 0) | (np.abs(x) > 1e-5 * scale)), "ill-conditioned sign"
    return np.sign(x)


def lion(p, g, s, t, h, c):
    """Chen et al. 2023 (arXiv 2302.06675), as its authors print it: decay, sign step, then the momentum."""
    old, new = c(h["beta1"]) * s["m"], c(1 - h["beta1"]) * g
    move = sign(old + new, np.maximum(np.abs(old), np.abs(new)))
    p *= c(1 - h["lr"] * h["weight_decay"])
    p -= c(h["lr"]) * move
    s["m"][...] = c(h["beta2"]) * s["m"] + c(1 - h["beta2"]) * g


def signum(p, g, s, t, h, c):
    """Bernstein et al. 2018, algorithm 2; decoupled decay first."""
    old, new = c(h["beta"]) * s["m"], c(1 - h["beta"]) * g
    s["m"][...] = old + new
    p *= c(1 - h["lr"] * h["weight_decay"])
    p -= c(h["lr"]) * sign(s["m"], np.maximum(np.abs(old), np.abs(new)))


def schedule_free_adamw(p, g, s, t, h, c):
    """Defazio et al. 2024, in the three sequences of the paper: gradients are taken at y, which is p; z is stepped; x
    is the weighted mean of the z's. x lies between the others, and the library computes it from them."""
    y, x, z = p, s["x"], s["z"]
    if t == 1:
        x[...], z[...] = y, y
    lr = h["lr"] * min(1.0, t / h["warmup"])
    weight = t ** h["r"] * (lr / h["lr"]) ** h["weight_power"]
    s["weights"][...] += c(weight)
    share = c(weight) / s["weights"]
    s["v"][...] = c(h["beta2"]) * s["v"] + c(1 - h["beta2"]) * (g * g)
    d = g / (np.sqrt(s["v"] / c(1 - h["beta2"] ** t)) + c(h["eps"])) + c(h["weight_decay"]) * y
    z[...] = z - c(lr) * d
    x[...] = (1 - share) * x + share * z
    # The printed line y = β₁·x + (1 - β₁)·z.
    y[...] = c(h["beta1"]) * x + c(1 - h["beta1"]) * z


def sign_sgd(p, g, s, t, h, c):
    """Bernstein et al. 2018, algorithm 1."""
    p -= c(h["lr"]) * sign(g, 0.1 * (g != 0))  # Δ is a difference of parameters near 1


def heavy_ball(p, g, s, t, h, c):
    """Polyak's momentum; FedAvgM of Hsu et al. 2019."""
    s["momentum"][...] = c(h["momentum"]) * s["momentum"] + g
    p -= c(h["lr"]) * s["momentum"]


def _fedopt_move(p, g, s, h, c):
    """Reddi et al. 2021, algorithm 2: the lines that all three share; v is this round's."""
    s["m"][...] = c(h["beta1"]) * s["m"] + c(1 - h["beta1"]) * g
    p -= c(h["lr"]) * s["m"] / (np.sqrt(s["v"]) + c(h["tau"]))


def fedadam(p, g, s, t, h, c):
    s["v"][...] = c(h["beta2"]) * s["v"] + c(1 - h["beta2"]) * (g * g)
    _fedopt_move(p, g, s, h, c)


def fedyogi(p, g, s, t, h, c):
    square = g * g
    s["v"][...] = s["v"] - c(1 - h["beta2"]) * square * sign(s["v"] - square, np.maximum(s["v"], square))
    _fedopt_move(p, g, s, h, c)


def fedadagrad(p, g, s, t, h, c):
    s["v"][...] = s["v"] + g * g
    _fedopt_move(p, g, s, h, c)


def slowmo(p, g, s, t, h, c):
    """Wang et al. 2019, algorithm 1: u in units of gradients, Δ = γ·(their sum)."""
    s["u"][...] = c(h["momentum"]) * s["u"] + g / c(h["inner_lr"])
    p -= c(h["lr"]) * c(h["inner_lr"]) * s["u"]


def bmuf(p, g, s, t, h, c):
    """Chen & Huo 2016: D filters the updates, and Φ is the filtered model. Φ is stored as its distance from the first
    p, so that its slot starts at 0. A block starts at Φ, or with `nesterov` at Φ - η·D, and g is measured from there."""
    if t == 1:
        s["first"][...] = p
    s["D"][...] = c(h["momentum"]) * s["D"] + c(h["block_lr"]) * g
    s["moved"][...] = s["moved"] - s["D"]
    model = s["first"] + s["moved"]
    p[...] = model - c(h["momentum"]) * s["D"] if h["nesterov"] else model


def lookahead(p, g, s, t, h, c):
    """Zhang et al. 2019, algorithm 1: slow weights move a share α of the way to the fast ones, which are p - g."""
    p += c(h["alpha"]) * ((p - g) - p)


def delayed_nesterov(p, g, s, t, h, c):
    """Liu et al. 2024, algorithm 2, whose t counts from 0."""
    n, activation, beta, lr = int(h["period"]), h["activation"], c(h["momentum"]), c(h["lr"])
    s["buffer"][...] = s["buffer"] + g
    if t % n == 0:
        s["momentum"][...] = beta * s["momentum"] + s["buffer"] / c(n)
        p -= lr * (c(1 - activation * n + activation) * beta * s["momentum"] + g / c(n))
        s["buffer"][...] = 0
    else:
        p -= lr * (c(activation) * beta * s["momentum"] + g / c(n))


FAMILY = {  # name in a fixture -> formula, slots that are compared, slots of its own, hyper-parameters
    "sign_sgd": (sign_sgd, (), (), dict(lr=2e-3)),
    "heavy_ball": (heavy_ball, ("momentum",), (), dict(lr=.7, momentum=.9)),
    "fedadam": (fedadam, ("m", "v"), (), dict(lr=3e-2, beta1=.8, beta2=.97, tau=3e-3)),
    "fedyogi": (fedyogi, ("m", "v"), (), dict(lr=3e-2, beta1=.8, beta2=.97, tau=3e-3)),
    "fedadagrad": (fedadagrad, ("m", "v"), (), dict(lr=3e-2, beta1=.3, tau=3e-3)),
    "slowmo": (slowmo, ("u",), (), dict(lr=.8, momentum=.6, inner_lr=.03)),
    "bmuf": (bmuf, ("D",), ("first", "moved"), dict(block_lr=.9, momentum=.6, nesterov=0.)),
    "bmuf_nesterov": (bmuf, ("D",), ("first", "moved"), dict(block_lr=.9, momentum=.6, nesterov=1.)),
    "lookahead": (lookahead, (), (), dict(alpha=.6)),
    "delayed_nesterov": (delayed_nesterov, ("momentum", "buffer"), (), dict(lr=.7, momentum=.9, period=3., activation=.2)),
}
