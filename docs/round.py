#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws round.svg beside itself: one round, with the bytes that each parameter moves. usage: python3 docs/round.py"""
import pathlib

WIDTH, HEIGHT = 960, 576
INK, MUTED, PAPER = "#1f2933", "#61707f", "#ffffff"
SWEEP, EDGE, WIRE = "#e8f0fb", "#2f6bb3", "#c2571a"
LANES = {  # name: (y, symbol, whose, fill)
    "theta": (372, "θ", "your tensors", "#f3eee2"),
    "anchor": (420, "θ̄", "anchor", "#eef1f4"),
    "residual": (468, "e", "residual", "#eef1f4"),
    "momentum": (516, "m", "outer state", "#eef1f4"),
}
LANE_HEIGHT, BOX_TOP, BOX_BOTTOM = 34, 176, 320

# What each sweep reads (up) and writes (down), in bytes per parameter: the ledger of include/diloco/concepts/traffic.hpp.
SWEEP_A = [("theta", "up", 4), ("anchor", "up", 4), ("residual", "up", 4), ("residual", "down", 4)]
SWEEP_B = [("anchor", "up", 4), ("momentum", "up", 4), ("anchor", "down", 4), ("momentum", "down", 4), ("theta", "down", 4)]

WIRES = [("f32", 4), ("bf16", 2), ("absmax8", 1.02), ("absmax4", 0.52), ("sign", 0.14)]

parts = []


def add(text):
    parts.append(text)


def label(x, y, text, size=14, color=INK, anchor="middle", weight="normal", style="normal"):
    add(f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-style="{style}">{text}</text>')


def formula(x, y, text, size=15):
    """Monospaced and of forced length, so that the bar over each θ̄ can be drawn: a combining one drowns in most fonts."""
    plain, pitch = text.replace("θ̄", "θ"), 0.6 * size
    left, bars = x - pitch * len(plain) / 2, []
    while "θ̄" in text:
        bars.append(text.index("θ̄"))
        text = text.replace("θ̄", "θ", 1)
    add(f'<text x="{left:.2f}" y="{y}" font-size="{size}" fill="{INK}" textLength="{pitch * len(plain):.2f}" '
        f'lengthAdjust="spacingAndGlyphs" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace">{plain}</text>')
    for at in bars:
        bar = left + pitch * at
        add(f'<path d="M{bar + 1:.2f} {y - 0.9 * size:.2f} h{pitch - 2:.2f}" stroke="{INK}" stroke-width="1.4"/>')


def box(x, y, width, height, fill, stroke="none", radius=8, extra=""):
    add(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}" stroke="{stroke}" {extra}/>')


def arrow(x1, y1, x2, y2, color, width=2.0):
    marker = "wire" if color == WIRE else "edge"
    add(f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{color}" stroke-width="{width}" fill="none" marker-end="url(#{marker})"/>')


def timeline():
    y, start, step = 56, 32, 19
    launch, land = start + 12 * step, start + 17 * step
    for i in [*range(12), *range(17, 20)]:
        box(start + i * step, y - 8, step - 4, 16, "#d9e2ec", radius=3)
    add(f'<path d="M{start} {y + 17} H{launch - 6}" stroke="{MUTED}" fill="none"/>')
    label((start + launch) / 2, y + 34, "H inner steps, each worker alone", 12, MUTED)
    for at, name in ((launch, "launch"), (land - 7, "land")):
        box(at - 1, y - 14, 5, 28, EDGE, radius=2)
        label(at + 1, y - 22, name, 12, EDGE)
    add(f'<path d="M{launch + 9} {y} H{land - 13}" stroke="{WIRE}" stroke-width="2" stroke-dasharray="4 3" '
        'marker-end="url(#wire)"/>')
    label((launch + land) / 2, y + 34, "steps may go on", 12, MUTED)
    label(land + 3 * step + 8, y + 5, "time", 12, MUTED, "start")


def legend():
    x, y = 466, 42
    label(x, y, "4", 13, EDGE, "start", "bold")
    label(x + 20, y, "bytes of each parameter, read (from ●) or written", 12, MUTED, "start")
    label(x, y + 22, "w", 13, WIRE, "start", "bold")
    label(x + 20, y + 22, "bytes of its wire: " + " · ".join(f"{name} {size}" for name, size in WIRES), 12, MUTED, "start")
    label(x, y + 44, "e", 13, INK, "start", style="italic")
    label(x + 20, y + 44, "only where the compressor loses something", 12, MUTED, "start")


def lanes():
    for y, symbol, whose, fill in LANES.values():
        box(24, y, WIDTH - 48, LANE_HEIGHT, fill, radius=6)
        formula(50, y + 23, symbol, 17)
        label(68, y + 22, whose, 13, MUTED, "start")


def sweep(x, width, title, lines, moves, total):
    box(x, BOX_TOP, width, BOX_BOTTOM - BOX_TOP, SWEEP, EDGE)
    label(x + width / 2, BOX_TOP - 34, title, 15, EDGE, weight="bold")
    label(x + width / 2, BOX_TOP - 13, total, 13, MUTED)
    for i, line in enumerate(lines):
        formula(x + width / 2, BOX_TOP + 40 + 33 * i, line)
    gap = width / (len(moves) + 1)
    for i, (lane, way, size) in enumerate(moves):
        at, y = x + gap * (i + 1), LANES[lane][0] + LANE_HEIGHT / 2
        if way == "up":
            add(f'<circle cx="{at}" cy="{y}" r="4.5" fill="{EDGE}"/>')
            arrow(at, y, at, BOX_BOTTOM + 8, EDGE)
        else:
            arrow(at, BOX_BOTTOM, at, y - 2, EDGE)
        label(at + 7, BOX_BOTTOM + 32, size, 13, EDGE, "start", "bold")


def exchange(x, width):
    middle = x + width / 2
    label(middle, BOX_TOP - 34, "exchange", 15, WIRE, weight="bold")
    label(middle, BOX_TOP - 13, "all that travels", 13, MUTED)
    for i in (2, 1, 0):
        box(x + 6 * i, BOX_TOP + 26 + 6 * i, width - 12, 78, "#fdf3ec", WIRE)
    label(middle - 6, BOX_TOP + 58, "K wires", 15)
    label(middle - 6, BOX_TOP + 82, "header · codes · scales", 12, MUTED)
    label(middle, BOX_BOTTOM - 6, "the same bytes for all,", 12, MUTED)
    label(middle, BOX_BOTTOM + 10, "summed in the same order", 12, MUTED)


def draw():
    add(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" role="img" '
        'aria-label="One round: sweep A encodes what a worker wants to say, the wires are exchanged, sweep B applies the mean">')
    add("<!-- drawn by docs/round.py -->")
    add("<defs>" + "".join(
        f'<marker id="{name}" viewBox="0 0 8 8" refX="6" refY="4" markerUnits="userSpaceOnUse" markerWidth="11" '
        f'markerHeight="11" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{color}"/></marker>'
        for name, color in (("edge", EDGE), ("wire", WIRE))) + "</defs>")
    box(1, 1, WIDTH - 2, HEIGHT - 2, PAPER, "#d5dbe1", 12)
    timeline()
    legend()
    lanes()
    sweep(170, 230, "sweep A, at launch", ["x = θ̄ − θ + e", "wire = encode(x)", "e ← x − decode(wire)"], SWEEP_A,
          f"{sum(size for _, _, size in SWEEP_A)} + w bytes per parameter")
    sweep(640, 280, "sweep B, at land", ["g = Σ c·decode(wire)", "θ̄, m ← outer(θ̄, g, m)", "θ ← θ̄"], SWEEP_B,
          f"{sum(size for _, _, size in SWEEP_B)} + K·w bytes per parameter")
    exchange(446, 152)
    middle = BOX_TOP + 65
    arrow(400, middle, 438, middle, WIRE, 2.5)
    label(419, middle - 10, "w", 14, WIRE, weight="bold")
    arrow(606, middle, 632, middle, WIRE, 2.5)
    label(618, middle - 10, "K·w", 14, WIRE, weight="bold")
    add("</svg>")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    pathlib.Path(__file__).with_name("round.svg").write_text(draw(), encoding="utf-8")
