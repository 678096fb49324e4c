# SPDX-License-Identifier: Apache-2.0
# Safetensors files for the system tests, with the standard library alone.
import json
import random
import struct

SIZES = {"F32": 4, "I32": 4, "I64": 8}
CODES = {"F32": "f", "I32": "i", "I64": "q"}


def _flat(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def write(path, tensors):
    """tensors: {name: (dtype, shape, values)}"""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        assert len(values) == _flat(shape), name
        raw = struct.pack(f"<{len(values)}{CODES[dtype]}", *values)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def read(path):
    """{name: (dtype, shape, values)} of F32, I32 and I64 tensors"""
    with open(path, "rb") as file:
        content = file.read()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    result = {}
    for name, tensor in header.items():
        begin, end = (8 + size + offset for offset in tensor["data_offsets"])
        count = (end - begin) // SIZES[tensor["dtype"]]
        values = struct.unpack(f"<{count}{CODES[tensor['dtype']]}", content[begin:end])
        result[name] = (tensor["dtype"], tensor["shape"], list(values))
    return result


def metadata(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        return json.loads(file.read(size))["__metadata__"]


def unit_vectors(tokens, heads=4, kv_heads=2, head_dim=16, feature_dim=8, seed=1):
    """Random inputs of the unit, near what trained models give it."""
    source = random.Random(seed)

    def normal(*shape, mean=0.0, deviation=1.0):
        return ("F32", shape, [source.gauss(mean, deviation) for _ in range(_flat(shape))])

    taps = [x + (1.0 if i % 4 == 3 else 0.0)
            for i, x in enumerate(normal(heads * head_dim, 4, deviation=0.1)[2])]
    return {
        "q": normal(tokens, heads, head_dim),
        "k": normal(tokens, kv_heads, head_dim),
        "v": normal(tokens, kv_heads, head_dim),
        "gk": normal(tokens, kv_heads, 2 * feature_dim, deviation=3.0),
        "q_conv1d": ("F32", (heads * head_dim, 4), taps),
        "k_conv1d": ("F32", (heads * head_dim, 4), taps),
        "feature_map": normal(heads, head_dim, feature_dim, deviation=head_dim ** -0.5),
    }
