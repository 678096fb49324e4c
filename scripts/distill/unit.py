# SPDX-License-Identifier: Apache-2.0
"""Steps 3-8 of a LAWCAT layer in PyTorch: causal Conv1D, feature map, gates, normalised gated linear attention.

`attend_recurrent` is the definition, token by token; `attend` computes the same in parallel over chunks, differentiable. No form
ever takes exp of a positive number, so gates may forget at once. B samples, T tokens, H query heads, Hkv key/value heads (H/Hkv
query heads share one), D head_dim, F feature_dim, K = 2F, taps the width of the convolution.
"""

import functools

import torch
import torch.nn.functional as F

GATE_NORMALIZER = 16
FEATURE_FLOOR = 1e-12
NORMALISER_FLOOR = 1e-10
CHUNK = 16


def convolve(x, taps, tail=None):
    """x [B,T,H,D], taps [H*D,1,4] -> [B,T,H,D] and the last three inputs [B,3,H,D]. Tap 3 meets the current token; `tail` is
    what came before x, zero if not given."""
    batch, tokens, heads, dim = x.shape
    width = taps.shape[-1]
    if tail is None:
        tail = x.new_zeros(batch, width - 1, heads, dim)
    padded = torch.cat([tail, x], 1)
    weight = taps.reshape(heads, dim, width)
    y = sum(weight[..., j] * padded[:, j : j + tokens] for j in range(width))
    return y, padded[:, tokens:]


def feature_map(x, weight):
    """x [B,T,H,D], weight [H,D,F] -> features [B,H,T,2F], each half sums to 1."""
    z = torch.einsum("bthd,hdf->bhtf", x, weight)
    return torch.cat([z.softmax(-1), (-z).softmax(-1)], -1).clamp_min(FEATURE_FLOOR)


def log_gate(logits):
    """gk [B,T,Hkv,K] -> log a [B,Hkv,T,K], never positive."""
    return F.logsigmoid(logits).transpose(1, 2) / GATE_NORMALIZER


def stretch(k, log_a, repeats):
    """Length emulation, not part of LAWCAT: features and gates that change the state as `repeats` [B,T] equal tokens in a row do:
    a becomes a^m and k becomes k (1 - a^m) / (1 - a)."""
    m = repeats[:, None, :, None]
    gain = torch.expm1(m * log_a) / torch.expm1(log_a).clamp(max=-1e-7)
    gain = torch.where(log_a > -1e-6, m.expand_as(gain), gain)
    return k * gain.repeat_interleave(k.shape[1] // gain.shape[1], 1), m * log_a


def round_rows(state, bits):
    """Rows of state [...,K,D+1] rounded at random to a mantissa of `bits` bits that shares the row's exponent, gradients straight through;
    the normaliser, in the last column, stays."""
    with torch.no_grad():
        values = state[..., :-1]
        step = torch.exp2(torch.floor(torch.log2(values.abs().amax(-1, keepdim=True).clamp_min(1e-30))) + 2 - bits)
        error = torch.floor(values / step + torch.rand_like(values)) * step - values
        error = F.pad(error, (0, 1))
    return state + error


def attend_recurrent(q, k, log_a, v, state=None):
    """q, k [B,H,T,K] features, log_a [B,Hkv,T,K], v [B,Hkv,T,D] -> o [B,H,T,D] and the final state [B,H,K,D+1]."""
    group = q.shape[1] // v.shape[1]
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1).repeat_interleave(group, 1)
    a = log_a.exp().repeat_interleave(group, 1)
    if state is None:
        state = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    outputs = []
    for t in range(q.shape[2]):
        state = a[:, :, t, :, None] * state + k[:, :, t, :, None] * v[:, :, t, None, :]
        outputs.append((q[:, :, t, None, :] @ state)[:, :, 0])
    return _normalise(torch.stack(outputs, 2)), state


def _normalise(u):
    return u[..., :-1] / (u[..., -1:] + NORMALISER_FLOOR)


def _within_chunk(q, k, b):
    """q, k, b [B,H,N,C,K], b the running sum of log a within a chunk -> weights of token j in token i [B,H,N,C,C], j <= i."""
    size = q.shape[3]
    causal = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    exponent = (b.unsqueeze(4) - b.unsqueeze(3)).masked_fill(~causal[..., None], -torch.inf)
    return (q.unsqueeze(4) * k.unsqueeze(3) * exponent.exp()).sum(-1)


@functools.cache
def _fused_within_chunk():
    """The same through torch.compile: the [C,C,K] products are then never stored. Compiles for every new shape."""
    return torch.compile(_within_chunk, dynamic=False)


def attend(q, k, log_a, v, state=None, round_state=None):
    """As attend_recurrent, in chunks of CHUNK tokens; T must be a multiple. `round_state`, if given, is applied to the state at
    the start of every chunk ([B,H,N,K,D+1]), for training with rounding in the loop."""
    batch, heads, tokens, features = q.shape
    group = heads // v.shape[1]
    count = tokens // CHUNK
    chunks = lambda x: x.reshape(batch, x.shape[1], count, CHUNK, x.shape[3])
    q, k, log_a = chunks(q), chunks(k), chunks(log_a)
    v = chunks(torch.cat([v, torch.ones_like(v[..., :1])], -1))
    b = log_a.cumsum(3)  # [B,Hkv,N,C,K]
    total = b[:, :, :, -1]  # [B,Hkv,N,K]
    per_head = lambda x: x.repeat_interleave(group, 1) if group > 1 else x
    bh, vh = per_head(b), per_head(v)
    within = _fused_within_chunk() if q.is_cuda else _within_chunk
    inner = within(q, k, bh) @ vh

    # What chunk m adds, decayed to the start of chunk n > m: exp of the sum of the totals of chunks m+1 .. n-1.
    update = (k * (bh[:, :, :, -1:] - bh).exp()).transpose(3, 4) @ vh  # [B,H,N,K,D+1]
    running = total.cumsum(2).transpose(2, 3)  # [B,Hkv,K,N]
    before = F.pad(running, (1, 0))[..., :count]
    decay = before.unsqueeze(4) - running.unsqueeze(3)  # [B,Hkv,K,N,N]: of m in n
    earlier = torch.ones(count, count, dtype=torch.bool, device=q.device).tril(-1)
    decay = per_head(decay.masked_fill(~earlier, -torch.inf).exp())
    start = (decay @ update.transpose(2, 3)).transpose(2, 3)  # [B,H,N,K,D+1]
    if state is not None:
        start = start + per_head(before.transpose(2, 3)).exp().unsqueeze(4) * state.unsqueeze(2)
    if round_state is not None:
        start = round_state(start)
    u = inner + (q * bh.exp()) @ start
    final = per_head(total)[:, :, -1].exp().unsqueeze(3) * start[:, :, -1] + update[:, :, -1]
    return _normalise(u).reshape(batch, heads, tokens, -1), final
