#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes fixtures/minifloats.safetensors: what the small floats of ml_dtypes, on which JAX and NumPy rely, are and how they round.

    pip install ml_dtypes              (0.6.0 wrote the file; needs NumPy)
    python3 make_float_goldens.py      rewrites the file
    python3 make_float_goldens.py --check   fails where ml_dtypes would write another

Apart from make_goldens.py, which needs PyTorch. Codes stand there as the bits of a float32. Entries:
    FORMAT.values               the float32 of every code, those of NaN and Inf included
    FORMAT.inputs, FORMAT.codes float32 numbers, and the code that each rounds to
The inputs of a format are each of its numbers, each middle between two neighbours, both floats beside the middle, numbers
in the subnormal range and below, and numbers at and beyond its largest: all of them with both signs. Where ml_dtypes
overflows to NaN or Inf (float8_e4m3fn, float8_e5m2) the library saturates, and such inputs are left out; the formats
without NaN and Inf saturate in both. The library never writes -0, and reads it as it is: its test expects +0 for a -0 here.
"""
import argparse
import pathlib
import sys

import ml_dtypes
import numpy as np

from fixture import serialize

PATH = pathlib.Path(__file__).resolve().parent / "fixtures" / "minifloats.safetensors"
FORMATS = {  # name here -> dtype, bits of a code
    "e4m3": (ml_dtypes.float8_e4m3fn, 8),
    "e5m2": (ml_dtypes.float8_e5m2, 8),
    "e2m3": (ml_dtypes.float6_e2m3fn, 6),
    "e3m2": (ml_dtypes.float6_e3m2fn, 6),
    "e2m1": (ml_dtypes.float4_e2m1fn, 4),
}


def values_of(dtype, count):
    """The float32 of codes 0 … count - 1."""
    return np.arange(count, dtype=np.uint8).view(dtype).astype(np.float32)


def narrow(inputs, dtype, word):
    """Inputs that stay finite, and their codes."""
    with np.errstate(all="ignore"):
        coded = inputs.astype(dtype)
        finite = np.isfinite(coded.astype(np.float32))
    return inputs[finite], coded[finite].view(word).astype(np.uint32)


def inputs_of(values, bits):
    numbers = values[:1 << (bits - 1)]  # of positive sign, ascending
    numbers = numbers[np.isfinite(numbers)]
    least, largest = numbers[1], numbers[-1]
    middles = (numbers[:-1] + (numbers[1:] - numbers[:-1]) / 2).astype(np.float32)
    below, above = np.nextafter(middles, np.float32(0)), np.nextafter(middles, np.float32(np.inf))
    small = least * np.float32([1e-30, 1e-3, 0.1, 0.49, 0.51, 0.75, 1.25, 1.75, 2.3, 3.1])
    beyond = largest * np.float32([1.0001, 1.01, 1.03, 1.0625, 1.125, 1.25, 2, 1e3, 1e30])
    denormal = np.float32([1e-45, 1e-40])
    positive = np.unique(np.concatenate([numbers, middles, below, above, small, beyond, denormal]))
    return np.concatenate([positive, -positive]).astype(np.float32)


def spread_over_bfloat16():
    """4,096 floats of every magnitude that does not round to Inf. Of each eight, three are at or near the middle of two
    codes."""
    words = np.linspace(0, 0x7F7F7FFF, 2048, dtype=np.uint64).astype(np.uint32)
    for place, low in ((1, 0x7FFF), (3, 0x8000), (5, 0x8001)):
        words[place::8] = words[place::8] & np.uint32(0xFFFF0000) | np.uint32(low)
    words[-1] = 0x7F7F7FFF
    return np.concatenate([words, words | np.uint32(0x80000000)]).view(np.float32)


def entries():
    result = {}
    for name, (dtype, bits) in FORMATS.items():
        values = values_of(dtype, 1 << bits)
        result[f"{name}.values"] = values
        result[f"{name}.inputs"], result[f"{name}.codes"] = narrow(inputs_of(values, bits), dtype, np.uint8)
    inputs = spread_over_bfloat16()
    result["bfloat16.inputs"], result["bfloat16.codes"] = narrow(inputs, ml_dtypes.bfloat16, np.uint16)
    result["e8m0.values"] = values_of(ml_dtypes.float8_e8m0fnu, 255)  # 255 is NaN
    return result


def file():
    return serialize({name: numbers.view(np.float32) for name, numbers in entries().items()},
                     {"about": "small floats by ml_dtypes; written by make_float_goldens.py"})


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="small floats of ml_dtypes as a golden fixture")
    options.add_argument("--check", action="store_true", help="write nothing, compare with the file")
    if options.parse_args().check:
        sys.exit(0 if PATH.read_bytes() == file() else f"{PATH.name} is not what ml_dtypes gives")
    PATH.write_bytes(file())
