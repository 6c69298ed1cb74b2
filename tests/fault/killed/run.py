#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills or stops one rank of four in the middle of a round over MPI, many times, and judges what the others did.

A trial fails where two members hold different anchors and one of those who committed has a next round without an
error, or where the anchors of two members that committed differ.

usage: run.py [--trials N] [--seed S] RANK_PROGRAM -- MPIRUN...
"""
import argparse
import json
import random
import subprocess
import sys

RANKS = 4


def judge(trial, endings):
    """Sentences about what is wrong in one trial's endings, a list of dicts as rank.cpp prints them."""
    wrong = []
    survivors = [r for r in range(RANKS) if not (trial["deadlines"] == 0 and r == trial["victim"])]
    missing = [r for r in survivors if all(e["rank"] != r for e in endings)]
    if missing:
        wrong.append(f"ranks {missing} printed nothing")
    anchors = {e["digest"] for e in endings}
    committed = [e for e in endings if e["committed"]]
    if len({e["digest"] for e in committed}) > 1:
        wrong.append("two members committed different anchors")
    if len(anchors) > 1:
        wrong += [f"rank {e['rank']} went on with an anchor that others do not have"
                  for e in committed if not e["next_error"]]
    if any(not e["committed"] and not e["error"] for e in endings):
        wrong.append("a member gave up without a sentence")
    return wrong


def run(trial, program, mpirun):
    command = [*mpirun, "-n", str(RANKS), program, str(trial["victim"]), str(trial["microseconds"]),
               str(trial["deadlines"]), str(trial["elements"]), trial["exchange"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


def main():
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("--trials", type=int, default=8)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("program")
    options.add_argument("mpirun", nargs="+")
    options = options.parse_args()
    rng = random.Random(options.seed)
    counts = {"within the first round": 0, "all committed": 0, "none committed": 0, "some committed, told in the next round": 0, "wrong": 0}
    for number in range(options.trials):
        elements = (256, 300000)[number // 2 % 2]
        trial = {
            "exchange": ("gather", "scatter_gather")[number % 2],
            "elements": elements,
            "victim": rng.randrange(RANKS),
            # About one round of four ranks on two cores.
            "microseconds": rng.randrange(300 if elements == 256 else 6000),
            "deadlines": (0, 0, 0, 0, 0.9, 1.1, 2, 3)[number % 8],
        }
        endings, log = run(trial, options.program, options.mpirun)
        wrong = judge(trial, endings)
        victims = [e for e in endings if e["rank"] == trial["victim"]]
        counts["within the first round"] += not victims or not victims[0]["committed"]
        committed = sum(e["committed"] for e in endings)
        if wrong:
            counts["wrong"] += 1
            print(f"trial {number} {trial}: " + "; ".join(wrong))
            print(*endings, log[-2000:], sep="\n")
            if counts["wrong"] == 5:
                break
        elif committed in (0, len(endings)):
            counts["none committed" if committed == 0 else "all committed"] += 1
        else:
            counts["some committed, told in the next round"] += 1
    print(f"{options.trials} trials: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if counts["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
