# SPDX-License-Identifier: Apache-2.0
"""Passkey prompts as token ids, whole batches at once on the training device.

The same text as hostlib/trace/passkey.cc makes (tests/house/distill_test.py compares them); here random numbers come from torch, so a
seed gives other prompts than there.
"""

import json
import pathlib
import typing

import torch

INTRODUCTION = (
    "There is an important info hidden inside a lot of irrelevant text . Find it and memorize it . "
    "I will quiz you about the important information there ."
)
FILLER = ["The grass is green .", "The sky is blue .", "The sun is yellow .", "Here we go .", "There and back again ."]
NEEDLE = "The pass key is # # # # # . Remember it . # # # # # is the pass key ."
QUESTION = "What is the pass key ? The pass key is"
DISTRACTOR = "The {} number is # # # # # ."
THINGS = ["bus", "house", "room", "phone", "year", "page", "gate", "seat"]
BOS, DIGIT0 = 1, 3
FIRST_NOISE, LAST_NOISE = 55, 224  # ids of the words that noise draws from
WITHOUT_FILLER = 69  # begin token, introduction, needle, question, five digits and the full stop after them


class Batch(typing.NamedTuple):
    """See PasskeyData.batch."""

    ids: torch.Tensor
    labels: torch.Tensor
    first: torch.Tensor
    region: torch.Tensor


class PasskeyData:
    """Batches of prompts with their answers. `tokenizer`: the model folder's tokenizer.json."""

    Batch = Batch
    kinds = ["plain", "half random words", "16 distractors"]
    lengths = [1024, 2048, 4096, 8192, 16384, 22528]
    eos = None

    def __init__(self, tokenizer, device):
        vocab = json.loads(pathlib.Path(tokenizer).read_text())["model"]["vocab"]
        ids = lambda text: [-1 if word == "#" else vocab[word] for word in text.split()]
        sentences = [ids(s) for s in FILLER] + [ids(DISTRACTOR.format(thing)) for thing in THINGS] + [ids(NEEDLE)]
        self.needle = len(sentences) - 1
        self.device = device
        self.width = max(map(len, sentences))
        self.length = torch.tensor([len(s) for s in sentences], device=device)
        self.table = torch.tensor([s + [0] * (self.width - len(s)) for s in sentences], device=device)
        slot = [[sum(x == -1 for x in s[:i]) % 5 if i < len(s) and s[i] == -1 else -1 for i in range(self.width)] for s in sentences]
        self.slot = torch.tensor(slot, device=device)  # which of the five digits stands here, or -1
        second = [[s is sentences[-1] and i < len(s) and s[i] == -1 and s[:i].count(-1) >= 5 for i in range(self.width)] for s in sentences]
        self.second = torch.tensor(second, device=device)
        self.head = torch.tensor([BOS] + ids(INTRODUCTION), device=device)
        self.tail = torch.tensor(ids(QUESTION), device=device)
        self.stop = vocab["."]

    def batch(self, generator, samples, tokens, noise, distractors, shortest=None, depth=None):
        """`samples` prompts of `shortest`..`tokens` tokens with answers, padded at the end to `tokens`.

        noise [B]: share of filler words replaced; distractors [B]: expected number of distractor sentences; depth [B] or None:
        where the needle stands, 0..1. Returns ids [B,tokens], labels [B,tokens]: 0 nothing to learn, 1 text, 2 the needle's second mention,
        3 answer (of the token itself, not of the one before), first [B]: index of the first answer digit, region [B,tokens]: 1 filler,
        distractors included, 2 the needle, 0 the rest.
        """
        dev, rand = self.device, lambda *size: torch.rand(*size, generator=generator, device=self.device)
        body = tokens - WITHOUT_FILLER
        most = body // 4 + 1
        room = torch.full((samples,), body, device=dev)
        if shortest is not None:
            room = (shortest + rand(samples) * (tokens + 1 - shortest)).long() - WITHOUT_FILLER
        kind = ((rand(samples, 1) * 5).long() + torch.arange(most, device=dev)) % 5
        chance = (distractors / (room / 5.0)).clamp(0, 1)
        kind = torch.where(rand(samples, most) < chance[:, None], 5 + (rand(samples, most) * len(THINGS)).long(), kind)
        count = (self.length[kind].cumsum(1) <= room[:, None]).sum(1)  # sentences that fit
        if depth is None:
            place = (rand(samples) * (count + 1)).long()
        else:
            place = (depth * count + 0.5).long()
        # Insert the needle as a sentence of its own.
        order = torch.arange(most + 1, device=dev).expand(samples, -1)
        source = (order - (order > place[:, None]).long()).clamp(max=most - 1)
        kind = torch.where(order == place[:, None], self.needle, kind.gather(1, source))
        size = torch.where(order <= count[:, None], self.length[kind], 0)
        ends = size.cumsum(1)
        filler = ends[:, -1]
        position = torch.arange(int(tokens), device=dev).expand(samples, -1) - len(self.head)
        sentence = torch.searchsorted(ends, position.clamp(min=0).contiguous(), right=True).clamp(max=most)
        within = (position - (ends - size).gather(1, sentence)).clamp(0, self.width - 1)
        which = kind.gather(1, sentence)
        ids = self.table[which, within]
        slot = self.slot[which, within]
        digits = (rand(samples, most + 1, 5) * 10).long()
        digits[..., 0] = 1 + (rand(samples, most + 1) * 9).long()
        answer = digits.gather(1, place[:, None, None].expand(-1, 1, 5))[:, 0]
        digit = digits.gather(1, sentence[..., None].expand(-1, -1, 5)).gather(2, slot.clamp(min=0)[..., None])[..., 0]
        ids = torch.where(slot >= 0, DIGIT0 + digit, ids)
        is_filler = (which < 5) & (ids != self.stop)
        noisy = is_filler & (rand(samples, tokens) < noise[:, None])
        words = FIRST_NOISE + (rand(samples, tokens) * (LAST_NOISE + 1 - FIRST_NOISE)).long()
        ids = torch.where(noisy, words, ids)
        labels = torch.ones_like(ids).masked_fill(noisy | (slot >= 0), 0)
        labels = torch.where(self.second[which, within], 2, labels)
        head = position < 0
        ids = torch.where(head, self.head[(position + len(self.head)).clamp(max=len(self.head) - 1)], ids)
        labels = labels.masked_fill(head, 1)
        # The question, the answer, a full stop, padding.
        after = position - filler[:, None]
        question = len(self.tail)
        ids = torch.where(after >= 0, self.tail[after.clamp(0, question - 1)], ids)
        spoken = (after >= question) & (after < question + 5)
        ids = torch.where(spoken, DIGIT0 + answer.gather(1, (after - question).clamp(0, 4)), ids)
        ids = torch.where(after == question + 5, self.stop, ids)
        ids = torch.where(after > question + 5, 0, ids)
        labels = torch.where(after >= 0, 1, labels)
        labels = torch.where(spoken, 3, labels)
        labels = torch.where(after > question + 5, 0, labels)
        region = torch.where(which == self.needle, 2, 1).masked_fill(head | (after >= 0), 0)
        return Batch(ids, labels, len(self.head) + filler + question, region)

    def training(self, generator, samples, tokens, data):
        """A batch for training: lengths of half to all of `tokens`, noise and distractors as the recipe's `data` says."""
        rand = lambda: torch.rand(samples, generator=generator, device=self.device)
        noise = torch.where(rand() < data["noise_share"], rand(), 0.0)
        distractors = torch.where(rand() < data["distractor_share"], rand() * data["max_distractors"], 0.0)
        return self.batch(generator, samples, tokens, noise, distractors, shortest=max(tokens // 2, 74))

    def example(self):
        """Ids of one prompt with its answer."""
        generator = torch.Generator(device=self.device).manual_seed(4)
        some = torch.ones(1, device=self.device)
        batch = self.batch(generator, 1, 704, 0.2 * some, 2 * some, depth=0.4 * some)
        return batch.ids[0, : int(batch.first[0]) + 5].cpu()

    def tests(self, purpose, kind, tokens, samples, seed, at_once):
        """Batches of prompts for a score, depths stratified, and how many of a batch's samples count. `validation` prompts are the same for
        every `seed` of training."""
        number = 77 if purpose == "validation" else 990000 + seed
        generator = torch.Generator(device=self.device).manual_seed(number * 1000003 + tokens)
        full = lambda value: torch.full((at_once,), float(value), device=self.device)
        noise, distractors = full(0.5 if kind == "half random words" else 0), full(16 if kind == "16 distractors" else 0)
        for done in range(0, samples, at_once):  # always as many, so that one compiled form serves
            order = torch.arange(done, done + at_once, device=self.device)
            depth = ((order + torch.rand(at_once, generator=generator, device=self.device)) / samples).clamp(max=1)
            yield self.batch(generator, at_once, tokens, noise, distractors, depth=depth), min(at_once, samples - done)
