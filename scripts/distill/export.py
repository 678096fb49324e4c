# SPDX-License-Identifier: Apache-2.0
"""A model as a Hugging Face-layout folder: model.safetensors in BF16, config.json, tokenizer, and expected.safetensors with logits
of a prompt, computed in float64 by the recurrence from the stored weights."""

import json
import pathlib
import struct

import torch

import unit

NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int32: "I32", torch.int64: "I64"}


def write(path, content):
    """The whole file, of bytes, or none."""
    part = pathlib.Path(f"{path}.part")
    part.write_bytes(content)
    part.replace(path)


def write_safetensors(path, tensors, metadata):
    """tensors: name -> tensor. Header padded to 8 bytes; names sorted; the whole file or none."""
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        blob = raw.numpy().tobytes()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write(path, struct.pack("<Q", len(text)) + text + b"".join(blobs))


def round_weights(module):
    """Rounds every weight to bfloat16, as the exported file holds it."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(p.bfloat16().to(p.dtype))


@torch.no_grad()
def exact_logits(module, ids):
    """ids [T] -> logits [T,vocab] in float64, the linear attention by its recurrence."""
    exact = type(module)(module.g, module.lawcat).double()
    exact.load_state_dict({name: value.double().cpu() for name, value in module.state_dict().items()})
    attend = unit.attend
    unit.attend = lambda q, k, log_a, v, state=None, round_state=None: unit.attend_recurrent(q, k, log_a, v, state)
    try:
        return exact.logits(exact(ids[None].cpu()))[0]
    finally:
        unit.attend = attend


def export(module, folder, tokenizer, metadata, expected_ids):
    """Rounds the module's weights to bfloat16 and writes its folder; `expected_ids` [T] are the tokens of expected.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    round_weights(module)
    tensors = {name: value.bfloat16() for name, value in module.state_dict().items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt", **metadata})
    write(folder / "config.json", module.g.config(module.lawcat).encode())
    write(folder / tokenizer.name, tokenizer.read_bytes())
    logits = exact_logits(module, expected_ids)
    write_safetensors(folder / "expected.safetensors", {"tokens": expected_ids.int(), "logits": logits.float()}, metadata)
