# SPDX-License-Identifier: Apache-2.0
"""Golden fixtures as safetensors files, written by NumPy alone. fixture.hpp reads them.

A file holds 8 bytes, little-endian, with the length of the header; the header; and the data without gaps. The header is
JSON, padded with spaces to a multiple of 8. It gives each tensor's dtype, shape and place in the data, and under
"__metadata__" what the file is. Tensors are in falling order of their type (U64 first, BOOL last), by name within a
type. The safetensors package writes this order.
"""
import json
import struct

import numpy as np

DTYPES = {  # in ascending order
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "U16": np.uint16, "F16": np.float16, "BF16": None,
    "I32": np.int32, "U32": np.uint32, "F32": np.float32, "F64": np.float64, "I64": np.int64, "U64": np.uint64,
}
RANK = {name: i for i, name in enumerate(DTYPES)}


class bfloat16:
    """NumPy has no such type. This marks 16-bit words that mean one."""

    def __init__(self, words):
        self.words = np.asarray(words, np.uint16)


def typed(values):
    if isinstance(values, bfloat16):
        return "BF16", values.words
    values = np.asarray(values)
    # None would mean float64 to NumPy.
    return next(name for name, dtype in DTYPES.items() if dtype is not None and dtype == values.dtype), values


def serialize(entries, notes):
    """name -> array, name -> text. Returns the bytes of a file."""
    tensors = {name: typed(values) for name, values in entries.items()}
    header = {"__metadata__": dict(sorted(notes.items()))} if notes else {}
    data = b""
    for name, (dtype, values) in sorted(tensors.items(), key=lambda t: (-RANK[t[1][0]], t[0])):
        bits = values.astype(values.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(bits)]}
        data += bits
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def write_fixture(path, about, entries):
    """Everything as float32: name -> array, one number or many."""
    path.write_bytes(serialize({n: np.asarray(v, np.float32) for n, v in entries.items()}, {"about": f"{about}; written by make_goldens.py"}))


def read_fixture(path):
    """name -> flat float32 array."""
    file = path.read_bytes()
    (length,) = struct.unpack_from("<Q", file)
    header = json.loads(file[8:8 + length].decode("utf-8"))
    header.pop("__metadata__", None)
    data = file[8 + length:]
    return {n: np.frombuffer(data[slice(*t["data_offsets"])], "<f4").copy() for n, t in header.items()}
