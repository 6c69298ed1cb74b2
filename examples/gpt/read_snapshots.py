#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the newest snapshot that the main job left in a folder, with the package safetensors.

  read_snapshots.py FOLDER      ends with 77 where the package is missing (pip install safetensors numpy)

All workers must hold the same anchor and outer state; the residual is each worker's own.
"""
import pathlib
import sys

try:
    from safetensors import safe_open
    from safetensors.numpy import load_file
except ImportError as missing:
    print(f"read_snapshots.py: {missing}; pip install safetensors numpy")
    sys.exit(77)


def main():
    files = sorted(pathlib.Path(sys.argv[1]).glob("step-*.safetensors"))
    step = files[-1].name.split(".")[0]
    ranks = [load_file(f) for f in files if f.name.startswith(step + ".")]
    with safe_open(files[-1], framework="numpy") as f:
        notes = f.metadata()
    kinds = {}
    for name, tensor in ranks[0].items():
        kinds.setdefault(name.split("/")[0], []).append(tensor.size)
    print(f"{step} of {len(ranks)} ranks, {notes['rounds']} rounds")
    for kind, sizes in sorted(kinds.items()):
        print(f"{kind:20} {len(sizes):4} tensors {sum(sizes):9} elements")
    shared = [name for name in ranks[0] if name.startswith(("anchor/", "outer."))]
    same = all((other[name] == ranks[0][name]).all() for other in ranks for name in shared)
    shapes = all(ranks[0]["anchor/" + name[6:]].shape == t.shape
                 for name, t in ranks[0].items() if name.startswith("theta/"))
    if not (same and shapes and shared and len(ranks) == int(notes["ranks"])):
        sys.exit("anchor or outer state differ between the ranks")


if __name__ == "__main__":
    main()
