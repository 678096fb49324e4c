# SPDX-License-Identifier: Apache-2.0
"""The three training runs of a distillation, each of a fixed number of steps, and accuracy on fresh prompts.

teacher: softmax model from scratch. transfer (stage 1): convolutions, feature maps and gates learn the teacher's attention outputs
from its hidden states. finetune (stage 2): low-rank adapters on q, k, v, o, or those in full, on the task's loss.
"""

import contextlib
import json
import math
import pathlib
import random
import time

import torch
import torch.nn.functional as F

import model as models
import unit


def save(path, content):
    """Writes the whole file or leaves the old one."""
    part = pathlib.Path(f"{path}.part")
    torch.save(content, part)
    part.replace(path)


class Recorder:
    """Calls step(*tensors) -> tensor of figures; on a GPU it records the call once for every shape and replays it."""

    WARM_UP = 3

    def __init__(self, step, device):
        self.step, self.device = step, device
        self.graphs, self.calls = {}, {}
        on_gpu = device.type == "cuda"
        self.stream = torch.cuda.Stream() if on_gpu else None
        self.pool = torch.cuda.graph_pool_handle() if on_gpu else None  # one step at a time: its memory serves every shape

    def __call__(self, *tensors):
        if self.stream is None:
            return self.step(*tensors)
        shape = tuple(tensors[0].shape)
        self.calls[shape] = self.calls.get(shape, 0) + 1
        if self.calls[shape] <= self.WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.step(*tensors)
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if shape not in self.graphs:
            graph, inputs = torch.cuda.CUDAGraph(), [t.clone() for t in tensors]
            with torch.cuda.graph(graph, pool=self.pool):
                result = self.step(*inputs)
            self.graphs[shape] = graph, inputs, result
        graph, inputs, result = self.graphs[shape]
        for old, new in zip(inputs, tensors):
            old.copy_(new)
        graph.replay()
        return result


class Run:
    """One training run: AdamW with warm-up and cosine decay, checkpoints, a log. A step's data and random numbers follow from run, seed
    and step, so that a run which goes on at a checkpoint does what it would have done."""

    KEPT_EVERY = 500  # steps

    def __init__(self, name, folder, seed, recipe, data, module, parameters, step_loss, averaged=0.0, memory=None):
        self.name, self.folder, self.seed, self.recipe, self.data = name, pathlib.Path(folder), seed, recipe, data
        self.stage = recipe[name]
        self.module, self.parameters, self.step_loss = module, list(parameters), step_loss
        self.device = self.parameters[0].device
        on_gpu = self.device.type == "cuda"
        for p in module.parameters():
            p.requires_grad_(False)
        for p in self.parameters:
            p.requires_grad_(True)
        extra = {"capturable": True, "fused": True} if on_gpu else {}
        rate = torch.tensor(0.0, device=self.device) if on_gpu else 0.0
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=rate, betas=(0.9, 0.95), weight_decay=self.stage.get("weight_decay", 0.0), **extra
        )
        self.memory = {} if memory is None else memory  # what a step leaves for later ones
        self.averaged = averaged
        self.average = [p.detach().clone() for p in self.parameters] if averaged else None
        self.step = 0

    @property
    def checkpoint(self):
        return self.folder / f"{self.name}.checkpoint"

    def resume(self):
        if self.checkpoint.exists():
            saved = torch.load(self.checkpoint, map_location=self.device)
            self.step = saved["step"]
            self.memory.update(saved["memory"])
            self.optimizer.load_state_dict(saved["optimizer"])
            with torch.no_grad():
                for p, q in zip(self.parameters, saved["parameters"]):
                    p.copy_(q)
                if self.average is not None:
                    for p, q in zip(self.average, saved["average"]):
                        p.copy_(q)

    def keep(self):
        save(
            self.checkpoint,
            {
                "step": self.step,
                "optimizer": self.optimizer.state_dict(),
                "parameters": [p.detach() for p in self.parameters],
                "average": self.average,
                "memory": self.memory,
            },
        )

    def rate(self):
        """Learning rate of this step: 50 steps of warm-up, then cosine to 5 %."""
        done = self.step / self.stage["steps"]
        return self.stage["rate"] * min(1.0, (self.step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))

    def length(self, draw):
        """Longest prompt of this step: of the curriculum while it lasts, then of the recipe's mixture."""
        until = 0
        for tokens, steps in self.stage.get("curriculum", []):
            until += steps
            if self.step < until:
                return tokens
        lengths = self.recipe["data"]["lengths"]
        return draw.choices([t for t, _ in lengths], [w for _, w in lengths])[0]

    def _one(self, *batch):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, figures = self.step_loss(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_mul_(self.average, self.averaged)
                torch._foreach_add_(self.average, [p.detach() for p in self.parameters], alpha=1 - self.averaged)
        return torch.stack([loss.detach(), *figures])

    def train(self, log):
        """Runs from the last checkpoint to the last step. Throws FloatingPointError when the loss is no number. The last checkpoint
        stays, for the caller to remove once the result is stored."""
        self.resume()
        one = Recorder(self._one, self.device)
        began, first = time.monotonic(), self.step
        generator = torch.Generator(device=self.device)
        total = self.recipe["data"]["tokens_per_step"]
        while self.step < self.stage["steps"]:
            key = f"{self.name}:{self.seed}:{self.step}"
            draw = random.Random(key)
            generator.manual_seed(draw.getrandbits(60))
            torch.manual_seed(draw.getrandbits(60))  # of what the step itself draws
            tokens = self.length(draw)
            batch = self.data.training(generator, max(1, total // tokens), tokens, self.recipe["data"])
            rate = self.rate()
            for group in self.optimizer.param_groups:
                if torch.is_tensor(group["lr"]):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate
            figures = one(*batch)
            self.step += 1
            if self.step % self.KEPT_EVERY == 0:
                self.keep()
            if self.step % 100 == 0 or self.step == self.stage["steps"]:
                row = [round(x, 6) for x in figures.tolist()]
                if not all(map(math.isfinite, row)):
                    raise FloatingPointError(f"{self.name}, step {self.step}: loss {row} is not finite")
                log(
                    {
                        "run": self.name,
                        "step": self.step,
                        "figures": row,
                        "steps_per_s": round((self.step - first) / (time.monotonic() - began), 2),
                    }
                )
        if self.average is not None:
            with torch.no_grad():
                for p, q in zip(self.parameters, self.average):
                    p.copy_(q)


def task_loss(module, hidden, batch):
    """Answer + 0.5 second mention + 0.1 text, cross entropy of the next token; and the share of prompts with every digit right."""
    logits = module.logits(hidden[:, :-1]).float()
    target, label = batch.ids[:, 1:], batch.labels[:, 1:]
    entropy = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view_as(target)
    mean = lambda mask: (entropy * mask).sum() / mask.sum().clamp(min=1)
    answer, second, text = (mean((label == kind).float()) for kind in (3, 2, 1))
    wrong = ((logits.argmax(-1) != target) & (label == 3)).any(1)
    return answer + 0.5 * second + 0.1 * text, (answer.detach(), 1 - wrong.float().mean())


def filler_penalties(probe, batch, excess):
    """Two penalties on what filler does to heads that read the needle, as if there were `excess` times as much of it; see a recipe's `finetune`.

    For each head, position p before an answer digit, and token t, weight w = sum_k q_p k_t exp(sum of log a from t+1 to p). With f the
    weights of filler and n those of the needle, leak is the mean of n/(n+f) log(1 + excess f/n), the first factor without gradient; it says
    how much is read from filler. hold is that of n/(n+f) log(1 + excess log(n0/n1)), n0 and n1 being n with no gates and with those of filler
    alone: how much filler makes the state forget.
    """
    q, k, log_a = probe
    _, heads, _, features = q.shape
    group = heads // log_a.shape[1]
    at = (batch.first[:, None] - 1 + torch.arange(5, device=q.device))[:, None, :, None]
    pick = at.expand(-1, heads, -1, features)
    q = q.gather(2, pick)
    is_filler, is_needle = ((batch.region == kind)[:, None, None] for kind in (1, 2))

    def weights(log_a):
        running = log_a.cumsum(2).repeat_interleave(group, 1)
        decay = (running.gather(2, pick).unsqueeze(3) - running.unsqueeze(2)).clamp(max=0).exp()
        return (q.unsqueeze(3) * k.unsqueeze(2) * decay).sum(-1)  # [B,H,5,T]

    weight = weights(log_a)
    filler, needle = (weight * is_filler).sum(-1), (weight * is_needle).sum(-1) + 1e-9
    share = (needle / (needle + filler)).detach()
    held = (weights(log_a * is_filler.transpose(2, 3)) * is_needle).sum(-1) + 1e-9
    all_of_it = (weights(torch.zeros_like(log_a)) * is_needle).sum(-1) + 1e-9
    forgotten = (all_of_it.log() - held.log()).clamp(min=0)
    return (share * torch.log1p(excess * filler / needle)).mean(), (share * torch.log1p(excess * forgotten)).mean()


def train_teacher(geometry, seed, recipe, data, folder, log, device):
    torch.manual_seed(seed)
    teacher = models.LanguageModel(geometry, lawcat=False).to(device)

    def step_loss(*tensors):
        batch = data.Batch(*tensors)
        return task_loss(teacher, teacher(batch.ids), batch)

    Run("teacher", folder, seed, recipe, data, teacher, teacher.parameters(), step_loss).train(log)
    return teacher


def transfer(teacher, seed, recipe, data, folder, log):
    """Stage 1: 1000 x mean squared error of the attention outputs before Wo, summed over layers."""
    torch.manual_seed(seed + 1)
    student = models.convert(teacher, recipe["transfer"]["gate_bias"])
    for p in teacher.parameters():
        p.requires_grad_(False)

    def step_loss(*tensors):
        batch = data.Batch(*tensors)
        record = []
        with torch.no_grad():
            teacher(batch.ids, record=record)
        errors = []
        for layer, (hidden, heads) in zip(student.model.layers, record):
            errors.append(F.mse_loss(layer.self_attn(hidden.float())[1], heads.float()))
        return 1000 * sum(errors), [e.detach() for e in errors]

    Run("transfer", folder, seed, recipe, data, student, student.lawcat_parameters(), step_loss).train(log)
    return student


def finetune(student, seed, recipe, data, folder, log):
    """Stage 2 on the task's loss. Options of the recipe's `finetune`: lora_rank (0: the projections in full), leak, hold (their
    weights) and leak_excess (see filler_penalties()), state_bits (rounding in the loop), emulation (1: none; else the longest repeat), passed (share of prompts that start from
    another prompt's last state), average (of the weights)."""
    torch.manual_seed(seed + 2)
    options = recipe["finetune"]
    if options["lora_rank"]:
        for projection in student.projections():
            projection.add_lora(options["lora_rank"], 2 * options["lora_rank"])
        own = [p for n, p in student.named_parameters() if "lora_" in n]
    else:
        own = [p.weight for p in student.projections()]
    bits, repeats, passed = options["state_bits"], options["emulation"], options["passed"]
    ends = {}  # shape of a batch -> the states that the last step of this shape ended with, one a layer

    def step_loss(*tensors):
        batch = data.Batch(*tensors)
        carries = [{} for _ in student.model.layers]
        shape = tuple(batch.ids.shape)
        if passed and shape in ends:
            goes_on = (torch.rand(len(batch.ids), device=batch.ids.device) < passed)[:, None, None, None]
            for carry, end in zip(carries, ends[shape]):
                carry["state"] = end.roll(1, 0) * goes_on
        if bits:
            for carry in carries:
                carry["round"] = lambda state: unit.round_rows(state, bits)
        if repeats > 1:
            draw = torch.rand(len(batch.ids), 1, device=batch.ids.device)
            m = torch.where(draw < 0.3, torch.ones_like(draw), repeats ** ((draw - 0.3) / 0.7))
            m = torch.where(batch.region == 1, m, torch.ones_like(m))
            for carry in carries:
                carry["stretch"] = m
        probes = []
        probe = (lambda i, q, k, log_a: probes.append((q, k, log_a))) if options["leak"] or options["hold"] else None
        loss, figures = task_loss(student, student(batch.ids, carries, probe=probe), batch)
        if passed:
            if shape not in ends:
                ends[shape] = [carry["state"].detach().clone() for carry in carries]
            for end, carry in zip(ends[shape], carries):
                end.copy_(carry["state"].detach())
        if probe is not None:
            leak, hold = map(sum, zip(*(filler_penalties(p, batch, options["leak_excess"]) for p in probes)))
            loss, figures = loss + options["leak"] * leak + options["hold"] * hold, (*figures, leak.detach(), hold.detach())
        return loss, figures

    parameters = own + student.lawcat_parameters()
    Run("finetune", folder, seed, recipe, data, student, parameters, step_loss, options["average"], ends).train(log)
    for projection in student.projections():
        projection.merge()
    return student


@torch.no_grad()
def accuracy(module, tests, segment=1024):
    """Share of prompts in which every token of the answer gets the highest logit, those before given. `tests`: batches of prompts, each with
    how many of them count. A LAWCAT model reads in segments and carries its state."""
    right, done = 0, 0
    for batch, count in tests:
        tokens = batch.ids.shape[1]
        step = segment if module.lawcat else tokens
        padded = -(-tokens // step) * step
        ids, labels = (F.pad(x, (0, padded + 1 - tokens)) for x in (batch.ids, batch.labels))
        carries = [{} for _ in module.model.layers]
        wrong = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        for start in range(0, padded, step):
            hidden = module(ids[:, start : start + step], carries if module.lawcat else None)
            target, label = (x[:, start + 1 : start + step + 1] for x in (ids, labels))
            wrong |= ((module.logits(hidden).argmax(-1) != target) & (label == 3)).any(1)
        right += (~wrong[:count]).sum().item()
        done += count
    return right / done


@contextlib.contextmanager
def logger(path):
    """Appends JSON lines to a file, and prints them."""
    with open(path, "a") as file:

        def log(row):
            row = {"time": round(time.time(), 1), **row}
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps(row), flush=True)

        yield log
