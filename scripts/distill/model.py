# SPDX-License-Identifier: Apache-2.0
"""The Llama-like decoder of the distillation, with softmax attention (the teacher) or LAWCAT attention (the student).

Parameters carry the tensor names of the checkpoint, so that a state_dict is the file's content. Sizes: see Geometry.
"""

import dataclasses
import json

import torch
import torch.nn.functional as F
from torch import nn

import unit


@dataclasses.dataclass
class Geometry:
    """Sizes of a model; all but the vocabulary come from a recipe."""

    layers: int
    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    vocab: int
    head_dim: int = 64
    features: int = 32
    taps: int = 4
    gate_rank: int = 16
    rope_theta: float = 10000.0
    max_tokens: int = 1024
    eos: int | None = None

    def config(self, lawcat, bos=1, pad=0):
        """config.json of the exported model."""
        config = {
            "architectures": ["LawcatForCausalLM" if lawcat else "LlamaForCausalLM"],
            "model_type": "lawcat" if lawcat else "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.max_tokens,
            "rms_norm_eps": 1e-5,
            "rope_theta": self.rope_theta,
            "hidden_act": "silu",
            "tie_word_embeddings": True,
            "attention_bias": False,
            "bos_token_id": bos,
            "pad_token_id": pad,
            "torch_dtype": "bfloat16",
        }
        if self.eos is not None:
            config["eos_token_id"] = self.eos
        if lawcat:
            config["lawcat"] = {
                "feature_dim": self.features,
                "conv_size": self.taps,
                "gate_low_rank_dim": self.gate_rank,
                "gate_logit_normalizer": unit.GATE_NORMALIZER,
                "window_size": 0,
            }
        return json.dumps(config, indent=2) + "\n"


class RmsNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class LoraLinear(nn.Module):
    """A linear layer without bias; add_lora() freezes its weight and trains B A beside it, merge() adds them up."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.normal_(self.weight, std=inputs**-0.5)
        self.scale = 0.0

    def add_lora(self, rank, alpha):
        self.scale = alpha / rank
        self.weight.requires_grad_(False)
        inputs = self.weight.shape[1]
        self.lora_a = nn.Parameter(torch.randn(rank, inputs, device=self.weight.device) * inputs**-0.5)
        self.lora_b = nn.Parameter(torch.zeros(self.weight.shape[0], rank, device=self.weight.device))

    def merge(self):
        if self.scale:
            with torch.no_grad():
                self.weight += self.scale * self.lora_b @ self.lora_a
            self.scale = 0.0
            del self.lora_a, self.lora_b

    def forward(self, x):
        weight = self.weight + self.scale * self.lora_b @ self.lora_a if self.scale else self.weight
        return F.linear(x, weight)


def rotate(x, theta):
    """Rotary position embedding, halves rotated together as in Hugging Face's Llama. x [B,H,T,D]."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Attention(nn.Module):
    """Projections and one of the two attentions. forward returns y [B,T,C] and the heads' outputs before Wo [B,T,H*D]."""

    def __init__(self, g, lawcat):
        super().__init__()
        self.g, self.lawcat = g, lawcat
        self.q_proj = LoraLinear(g.hidden, g.heads * g.head_dim)
        self.k_proj = LoraLinear(g.hidden, g.kv_heads * g.head_dim)
        self.v_proj = LoraLinear(g.hidden, g.kv_heads * g.head_dim)
        self.o_proj = LoraLinear(g.heads * g.head_dim, g.hidden)
        if lawcat:
            channels = g.heads * g.head_dim
            taps = torch.tensor([1e-3, 1e-3, 1e-3, 1.0])
            self.q_conv1d, self.k_conv1d = nn.Module(), nn.Module()
            self.q_conv1d.weight = nn.Parameter(taps.repeat(channels, 1, 1))
            self.k_conv1d.weight = nn.Parameter(taps.repeat(channels, 1, 1))
            self.gk_proj = nn.Sequential(
                nn.Linear(g.hidden, g.gate_rank, bias=False), nn.Linear(g.gate_rank, g.kv_heads * 2 * g.features)
            )
            self.feature_map_q = nn.Module()
            self.feature_map_q.mlp = nn.Module()
            self.feature_map_q.mlp.layer = nn.Parameter(
                torch.stack([nn.init.orthogonal_(torch.empty(g.head_dim, g.features)) for _ in range(g.heads)])
            )

    def forward(self, x, carry=None, probe=None):
        g = self.g
        batch, tokens, _ = x.shape
        q = self.q_proj(x).view(batch, tokens, g.heads, g.head_dim)
        k = self.k_proj(x).view(batch, tokens, g.kv_heads, g.head_dim)
        v = self.v_proj(x).view(batch, tokens, g.kv_heads, g.head_dim)
        if self.lawcat:
            with torch.autocast(x.device.type, enabled=False):  # the unit leaves bfloat16
                exact = self.gk_proj[0].weight.dtype
                o = self.linear(*(y.to(exact) for y in (x, q, k, v)), carry, probe)
        else:
            o = self.softmax(q, k, v)
        return self.o_proj(o), o

    def softmax(self, q, k, v):
        g = self.g
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        q, k = rotate(q, g.rope_theta), rotate(k, g.rope_theta)
        k, v = (y.repeat_interleave(g.heads // g.kv_heads, 1) for y in (k, v))
        if q.is_cuda:
            o = F.scaled_dot_product_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), is_causal=True).to(q.dtype)
        else:
            weights = q @ k.transpose(2, 3) * g.head_dim**-0.5
            mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
            o = weights.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        return o.transpose(1, 2).flatten(2)

    def linear(self, x, q, k, v, carry, probe):
        """Steps 3-8. `carry`, a dict, holds state and tails between calls; `probe(q, k, log_a)` sees the features."""
        g = self.g
        carry = {} if carry is None else carry
        gk = self.gk_proj(x).view(*x.shape[:2], g.kv_heads, 2 * g.features)
        k = k.repeat_interleave(g.heads // g.kv_heads, 2)
        q, carry["q_tail"] = unit.convolve(q, self.q_conv1d.weight, carry.get("q_tail"))
        k, carry["k_tail"] = unit.convolve(k, self.k_conv1d.weight, carry.get("k_tail"))
        q, k = (unit.feature_map(y, self.feature_map_q.mlp.layer) for y in (q, k))
        log_a = unit.log_gate(gk)
        if "stretch" in carry:
            k, log_a = unit.stretch(k, log_a, carry["stretch"])
        if probe is not None:
            probe(q, k, log_a)
        o, carry["state"] = unit.attend(q, k, log_a, v.transpose(1, 2), carry.get("state"), carry.get("round"))
        return o.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    def __init__(self, g, lawcat):
        super().__init__()
        self.input_layernorm = RmsNorm(g.hidden)
        self.self_attn = Attention(g, lawcat)
        self.post_attention_layernorm = RmsNorm(g.hidden)
        self.mlp = nn.Module()
        self.mlp.gate_proj = LoraLinear(g.hidden, g.mlp)
        self.mlp.up_proj = LoraLinear(g.hidden, g.mlp)
        self.mlp.down_proj = LoraLinear(g.mlp, g.hidden)

    def forward(self, x, carry=None, probe=None):
        hidden = self.input_layernorm(x)
        y, heads = self.self_attn(hidden, carry, probe)
        x = x + y
        z = self.post_attention_layernorm(x)
        x = x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(z)) * self.mlp.up_proj(z))
        return x, hidden, heads


class LanguageModel(nn.Module):
    """tokens [B,T] -> final hidden states [B,T,C]; logits() of them. Embedding and head are one matrix."""

    def __init__(self, g, lawcat):
        super().__init__()
        self.g, self.lawcat = g, lawcat
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(g.vocab, g.hidden)
        nn.init.normal_(self.model.embed_tokens.weight, std=0.02 if g.hidden > 512 else g.hidden**-0.5)
        self.model.layers = nn.ModuleList(Layer(g, lawcat) for _ in range(g.layers))
        self.model.norm = RmsNorm(g.hidden)
        for layer in self.model.layers:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                with torch.no_grad():
                    projection.weight *= (2 * g.layers) ** -0.5

    def forward(self, tokens, carries=None, record=None, probe=None):
        """`carries`: one dict a layer, kept between calls on consecutive runs of tokens. `record`: a list that receives
        (hidden, heads) of each layer. `probe(layer, q, k, log_a)`: sees each layer's features."""
        x = self.model.embed_tokens(tokens)
        for i, layer in enumerate(self.model.layers):
            look = None if probe is None else (lambda q, k, log_a, i=i: probe(i, q, k, log_a))
            x, hidden, heads = layer(x, carries[i] if carries is not None else None, look)
            if record is not None:
                record.append((hidden, heads))
        return self.model.norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.model.embed_tokens.weight)

    def projections(self):
        """The four projections of every attention, which stage 2 fine-tunes."""
        return [getattr(l.self_attn, n) for l in self.model.layers for n in ("q_proj", "k_proj", "v_proj", "o_proj")]

    def lawcat_parameters(self):
        """Convolutions, feature maps and gates: what the conversion adds."""
        own = ("q_conv1d", "k_conv1d", "gk_proj", "feature_map_q")
        return [p for name, p in self.named_parameters() if any(part in name for part in own)]


def convert(teacher, gate_bias):
    """A LAWCAT student with the teacher's weights and fresh convolutions, feature maps and gates."""
    student = LanguageModel(teacher.g, lawcat=True).to(next(teacher.parameters()).device)
    student.load_state_dict(teacher.state_dict(), strict=False)
    with torch.no_grad():
        for layer in student.model.layers:
            layer.self_attn.gk_proj[1].bias.fill_(gate_bias)
            layer.self_attn.gk_proj[1].weight.mul_(0.1)
    return student
