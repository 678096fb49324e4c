#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes tests/support/hf/: tiny random Llama and Mistral checkpoints of transformers, and their logits.
"""Needs torch, transformers 5 and safetensors. The checkpoints are float32, made anew from fixed seeds. The
logits are computed by transformers from those weights in float64 with eager attention (its RMSNorm, softmax
and rotary tables still pass through float32), then stored as float32."""

import argparse
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file

TOKENS = 96
FOLDER_LIMIT = 250 * 1024  # bytes

SHAPE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
}

# With head_dim 16 the wavelengths are 6, 20, 63, 199, ... tokens: `llama3` keeps the first two, blends the
# third and slows the others, all within 96 tokens.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}


def randomise(model, seed):
    """Fills every parameter with values large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            norm = parameter.dim() == 1
            parameter.copy_(1 + 0.2 * noise if norm else noise * 1.5 / parameter.shape[1] ** 0.5)


def write(folder, config, seed, shards=1):
    shutil.rmtree(folder, ignore_errors=True)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    model = model.float().eval()
    randomise(model, seed)
    model.save_pretrained(folder, max_shard_size="1GB" if shards == 1 else "100KB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    index = folder / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if index.exists():
        files = set(json.loads(index.read_text())["weight_map"].values())
    if len(files) != shards:
        raise SystemExit(f"{folder}: expected {shards} weight files, got {sorted(files)}")

    generator = torch.Generator().manual_seed(seed + 1)
    tokens = torch.randint(0, SHAPE["vocab_size"], (TOKENS,), generator=generator)
    with torch.no_grad():
        logits = model.double()(input_ids=tokens[None], use_cache=False).logits[0]
    if logits.dtype != torch.float64:
        raise SystemExit(f"{folder}: expected float64 logits, got {logits.dtype}")
    save_file({"tokens": tokens, "logits": logits.float().contiguous()}, folder / "expected.safetensors")

    size = sum(file.stat().st_size for file in folder.iterdir())
    if size >= FOLDER_LIMIT:
        raise SystemExit(f"{folder}: expected less than {FOLDER_LIMIT} bytes, got {size}")
    print(f"{folder.name}: {size} bytes, {len(files)} weight file(s), largest logit {logits.abs().max():.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "hf")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    plain_rope = {"rope_type": "default", "rope_theta": 10000.0}
    llama = transformers.LlamaConfig(**SHAPE, rope_parameters=plain_rope, tie_word_embeddings=False)
    write(out / "llama-plain-untied", llama, seed=1)
    scaled = transformers.LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE, tie_word_embeddings=True)
    write(out / "llama3-rope-tied", scaled, seed=2, shards=2)
    mistral = transformers.MistralConfig(
        **SHAPE, rope_parameters=plain_rope, sliding_window=24, tie_word_embeddings=False)
    write(out / "mistral-sliding", mistral, seed=3)


if __name__ == "__main__":
    main()
