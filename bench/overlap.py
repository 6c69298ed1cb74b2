#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Steps over MPI on a slow link: no rounds, every(40), streaming in the calls of the trainer, streaming with a thread.

usage: overlap.py PROGRAM [--threads] [--mbit 100] [--params 8] [--step-ms 60] [--steps 160] [--times 3]

Makes a network namespace whose loopback is shaped with `tc tbf`, and runs two ranks in it. Both directions share the rate.
Needs root, ip and tc. With --threads, two threads of one process run instead, and nothing is shaped.
The variants run in turn, and the table has medians.
"""
import argparse
import os
import statistics
import subprocess

NAMESPACE = f"diloco-{os.getpid()}"
VARIANTS = {"no rounds": ["none"], "every(40)": ["every"], "streaming": ["streaming"], "streaming, thread": ["streaming", "thread"]}


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def run(program, args, words):
    numbers = [str(args.params), str(args.step_ms), str(args.steps)]
    if args.threads:
        text = subprocess.run([program, *numbers, *words, "threads"], check=True, capture_output=True, text=True).stdout.split()
        return float(text[0]), int(text[2]), int(text[3])
    inside = ["ip", "netns", "exec", NAMESPACE]
    mpi = ["mpirun", "--oversubscribe", "--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", "lo", "--mca",
           "oob_tcp_if_include", "lo", "--mca", "pml", "ob1", "-n", "2"]
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    text = subprocess.run([*inside, *mpi, program, *numbers, *words], check=True,
                          capture_output=True, text=True, env=env).stdout.split()
    return float(text[0]), int(text[2]), int(text[3])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", action="store_true", help="two threads in place of MPI")
    parser.add_argument("--mbit", type=int, default=100)
    parser.add_argument("--params", type=float, default=8, help="millions of parameters")
    parser.add_argument("--step-ms", type=float, default=60)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    variants = {name: words for name, words in VARIANTS.items() if not (args.threads and "thread" in words)}
    seconds = {name: [] for name in variants}
    facts = {}
    if not args.threads:
        ip("netns", "add", NAMESPACE)
    try:
        if not args.threads:
            ip("netns", "exec", NAMESPACE, "ip", "link", "set", "lo", "mtu", "1500", "up")
            ip("netns", "exec", NAMESPACE, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{args.mbit}mbit",
               "burst", "64kb", "latency", "300ms")
        for _ in range(args.times):
            for name, words in variants.items():
                took, at_once, rounds = run(args.program, args, words)
                seconds[name].append(took)
                facts[name] = at_once, rounds
    finally:
        if not args.threads:
            ip("netns", "del", NAMESPACE)
    base = statistics.median(seconds["no rounds"])
    print(f"{args.params:g} M parameters, {args.steps} steps of {args.step_ms:g} ms, "
          + ("two threads" if args.threads else f"{args.mbit} Mbit/s for both directions"))
    print(f"{'':20} {'seconds':>8} {'ratio':>6} {'utilization':>11} {'bytes at once':>13} {'rounds':>6}")
    for name in variants:
        took = statistics.median(seconds[name])
        at_once, rounds = facts[name]
        print(f"{name:20} {took:8.2f} {took / base:6.3f} {100 * base / took:10.1f}% {at_once if rounds else 0:13} {rounds:6}")


main()
