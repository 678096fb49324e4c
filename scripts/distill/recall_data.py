# SPDX-License-Identifier: Apache-2.0
"""Prompts of S-NIAH and BABILong for training and tests: pools that `lawcat-sim prompts` writes, and sequences that teach to look back.

A recipe's `data` names the pools (`pools`: file name -> use (training, validation or test), split, tasks, lengths, number, seed and share of training).
"""

import json
import pathlib
import struct
import subprocess
import typing

import torch

BOS = 1
FIRST_PIECE = 4 + 256  # of a SentencePiece vocabulary: the ids before are control symbols and bytes


class Batch(typing.NamedTuple):
    """ids [B,tokens], 0 behind a sample's end; labels [B,tokens]: 0 nothing to learn, 1 text, 3 answer (of the token itself)."""

    ids: torch.Tensor
    labels: torch.Tensor


class Refused(Exception):
    """A sentence for the user."""


class Pool:
    """A file of `lawcat-sim prompts`, on the training device."""

    def __init__(self, path, wanted, device):
        self.path = path
        header, tensors = self.read(path)
        asked = {"task": wanted["tasks"], "tokens": wanted["tokens"], "seed": str(wanted["seed"]), "split": wanted["split"]}
        got = {key: header.get("__metadata__", {}).get(key) for key in asked}
        if got != asked or len(tensors["task"]) != wanted["samples"]:
            raise Refused(f"pool {path}: expected {wanted['samples']} prompts of {asked}, got {len(tensors['task'])} of {got}")
        self.tasks = wanted["tasks"].split(",")
        self.lengths = [int(word) for word in wanted["tokens"].split(",")]
        at, size = tensors["offsets"][:-1], tensors["offsets"].diff()
        asked = torch.tensor(self.lengths)[torch.arange(len(at)) // len(self.tasks) % len(self.lengths)]
        self.ids = tensors["tokens"].to(device)
        self.at, self.size, self.answer, self.task, self.asked = (x.to(device) for x in (at, size, tensors["answer"], tensors["task"], asked))
        self.fitting = {}

    def training_rows(self, tokens):
        """Samples for a batch of `tokens`: of the longest length that the pool was asked for and that fits."""
        if tokens not in self.fitting:
            asked = max((length for length in self.lengths if length <= tokens), default=-1)
            self.fitting[tokens] = ((self.asked == asked) & (self.size <= tokens)).nonzero()[:, 0]
        return self.fitting[tokens]

    @staticmethod
    def read(path):
        try:
            raw = path.read_bytes()
            (size,) = struct.unpack("<Q", raw[:8])
            header = json.loads(raw[8 : 8 + size])
            kinds = {"I32": torch.int32, "I64": torch.int64}
            tensors = {}
            for name in ("tokens", "offsets", "answer", "task"):
                begin, end = header[name]["data_offsets"]
                tensors[name] = torch.frombuffer(bytearray(raw[8 + size + begin : 8 + size + end]), dtype=kinds[header[name]["dtype"]]).clone()
            return header, tensors
        except (OSError, ValueError, KeyError, TypeError, struct.error, RuntimeError) as error:
            raise Refused(f"pool {path}: expected a file of lawcat-sim prompts, got: {error!r}") from None

    def rows(self, task):
        return (self.task == self.tasks.index(task)).nonzero()[:, 0]

    def answers(self, task):
        """Ids that stand in some of the task's answers but not in all: of a number, its digits."""
        ends = torch.stack([self.at + self.answer, self.at + self.size])[:, self.rows(task)].T.tolist()
        answers = [set(self.ids[begin:end].tolist()) for begin, end in ends]
        return set.union(*answers) - set.intersection(*answers)

    def last_words(self, task):
        """Ids before the full stop and the end token."""
        return self.ids[(self.at + self.size)[self.rows(task)] - 3].unique()

    def batch(self, rows, tokens):
        """Samples `rows` [B], padded to `tokens`."""
        place = torch.arange(tokens, device=rows.device)
        inside = place < self.size[rows, None]
        ids = self.ids[(self.at[rows, None] + place).clamp(max=len(self.ids) - 1)].long()
        labels = torch.where(place < self.answer[rows, None], 1, 3)
        return Batch(ids.masked_fill(~inside, 0), labels.masked_fill(~inside, 0))


class RecallData:
    """Batches of prompts with their answers. `folder`: where the pools are; those that it lacks, `program` (lawcat-sim) makes there."""

    Batch = Batch
    eos = 2

    def __init__(self, recipe, tokenizer, device, folder, program):
        self.device, self.vocab = device, recipe["model"]["vocab"]
        pools = {}
        for name, wanted in recipe["data"]["pools"].items():
            path = pathlib.Path(folder) / f"{name}.safetensors"
            if not path.exists():
                self.make(path, wanted, tokenizer.parent, program)
            pools[name] = Pool(path, wanted, device)
        used = lambda use: [name for name in pools if recipe["data"]["pools"][name]["use"] == use]
        self.training_pools = [(pools[name], recipe["data"]["pools"][name]["share"]) for name in used("training")]
        self.tests_of = {use: [pools[name] for name in used(use)] for use in ("validation", "test")}
        # Words that stand for one another: digits, places, objects.
        of = lambda ids, *tasks: {int(i) for pool, _ in self.training_pools for task in tasks if task in pool.tasks for i in ids(pool, task)}
        places = of(Pool.last_words, "babilong-qa2", "babilong-qa3")
        groups = of(Pool.answers, "s-niah-1", "s-niah-2"), places, of(Pool.answers, "babilong-qa2", "babilong-qa3") - places
        self.groups = [torch.tensor(sorted(group), dtype=torch.long, device=device) for group in groups]

    @staticmethod
    def make(path, wanted, model, program):
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [program, "prompts", "--model", model, "--split", wanted["split"], "--task", wanted["tasks"], "--tokens", wanted["tokens"],
                   "--samples", wanted["samples"], "--seed", wanted["seed"], "--output", path, "--quiet"]
        try:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        except OSError as error:
            raise Refused(f"--program {program}: expected lawcat-sim, which makes the pool {path}, got: {error}") from None
        if done.returncode:
            raise Refused(f"--program {program}, to make the pool {path}: {done.stderr.strip()}")

    @property
    def kinds(self):
        """Names of the sets of test prompts."""
        return list(dict.fromkeys(task for pool in self.tests_of["test"] for task in pool.tasks))

    @property
    def lengths(self):
        return sorted({length for pool in self.tests_of["test"] for length in pool.lengths})

    def example(self):
        """Ids of one prompt with its answer: the first of the shortest for tests."""
        pool = min(self.tests_of["test"], key=lambda pool: min(pool.lengths))
        return pool.batch(torch.zeros(1, dtype=torch.long, device=self.device), int(pool.size[0])).ids[0].cpu()

    def look_back(self, generator, samples, tokens):
        """Different tokens, again and again in the same order: what followed a token follows it. Periods of 8 to half of `tokens`."""
        rand = lambda *size: torch.rand(*size, generator=generator, device=self.device)
        pieces = torch.topk(rand(samples, self.vocab - FIRST_PIECE), tokens // 2, 1).indices + FIRST_PIECE
        period = (8 + rand(samples, 1) * (tokens // 2 - 7)).long()
        place = torch.arange(tokens - 1, device=self.device)
        ids = pieces.gather(1, place % period)
        labels = torch.where(place > period, 3, 0)
        return Batch(torch.nn.functional.pad(ids, (1, 0), value=BOS), torch.nn.functional.pad(labels, (1, 0)))

    def exchanged(self, generator, batch):
        """Words of each sample exchanged for others of their group throughout, so that no answer is learnt by heart."""
        exchange = torch.arange(self.vocab, device=self.device).repeat(len(batch.ids), 1)
        for group in self.groups:
            order = torch.rand(len(batch.ids), len(group), generator=generator, device=self.device).argsort(1)
            exchange[:, group] = group[order]
        return batch._replace(ids=exchange.gather(1, batch.ids))

    def training(self, generator, samples, tokens, data):
        """A batch for training: of every pool its share of samples; a share `look_back` of sequences that teach to look back, and these
        alone where no pool has a sample that short."""
        fits = [(pool, rows, share) for pool, share in self.training_pools if len(rows := pool.training_rows(tokens))]
        count = round(samples * data["look_back"]) if fits else samples
        parts = [self.look_back(generator, count, tokens)] if count else []
        left, shares = samples - count, sum(share for _, _, share in fits)
        for pool, rows, share in fits:
            count = round(left * share / shares)
            left, shares = left - count, shares - share
            chosen = rows[(torch.rand(count, generator=generator, device=self.device) * len(rows)).long().clamp(max=len(rows) - 1)]
            parts.append(self.exchanged(generator, pool.batch(chosen, tokens)))
        return Batch(*(torch.cat(tensors) for tensors in zip(*parts)))

    def tests(self, purpose, kind, tokens, samples, seed, at_once):
        """Batches of the pools' prompts of task `kind` and length `tokens` for a score, `samples` at most, and how many of a batch's samples
        count; None where there are no such. `seed` has no part."""
        for pool in self.tests_of[purpose]:
            if kind in pool.tasks and tokens in pool.lengths:
                rows = ((pool.task == pool.tasks.index(kind)) & (pool.asked == tokens)).nonzero()[:samples, 0]
                size = int(pool.size[rows].max())
                filled = lambda part: torch.cat([part, part[:1].expand(at_once - len(part))])
                return ((pool.batch(filled(part), size), len(part)) for part in rows.split(at_once))
        return None
