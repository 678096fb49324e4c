# SPDX-License-Identifier: Apache-2.0
# The distillation scripts: the prompts they train on, what they refuse and, where PyTorch is installed, their arithmetic against lawcat-sim.
import ast
import importlib.util
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ.get("LAWCAT_SIM")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
DISTILL = SOURCE / "scripts/distill"
TORCH = importlib.util.find_spec("torch") is not None
TINY = ["model.layers=2", "model.hidden=64", "model.mlp=128", "data.tokens_per_step=512", "data.lengths=[[256,1]]", "teacher.steps=2",
        "teacher.curriculum=[[128,1]]", "transfer.steps=1", "finetune.steps=2"]


def constants(path):
    """Module-level names of a Python file that are bound to literals."""
    result = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                result[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                pass
    return result


class Distill(unittest.TestCase):
    def refused(self, *arguments, **environment):
        run = subprocess.run([sys.executable, DISTILL / "distill", *arguments], capture_output=True, text=True, timeout=120,
                             env={**os.environ, **environment})
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertEqual(run.stderr.count("\n"), 1, run.stderr)
        return run.stderr

    def test_prompts_have_the_words_of_the_evaluated_task(self):
        words = constants(DISTILL / "passkey_data.py")
        generator = re.sub(r'"\s*\n\s*"', "", (SOURCE / "hostlib/trace/passkey.cc").read_text())
        self.assertIn(f'"{words["INTRODUCTION"]}"', generator)
        self.assertIn(f'"{words["QUESTION"]}"', generator)
        for sentence in words["FILLER"]:
            self.assertIn(", ".join(f'"{word}"' for word in sentence.split()), generator)
        needle = words["NEEDLE"].replace("# # # # # ", "{}")
        self.assertIn(f'"{needle}"', generator)
        for thing in words["THINGS"]:
            self.assertIn(f'"{thing}"', generator)

    def test_unknown_recipe_or_key_or_value_is_one_sentence_and_exit_2(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("expected a JSON file", self.refused("--recipe", "nowhere", "--out", folder))
            self.assertIn("expected one of the recipe's keys", self.refused("--set", "finetune.ranks=3", "--out", folder))
            self.assertIn("expected a number or a list", self.refused("--set", "finetune.steps=many", "--out", folder))
            self.assertIn("expected a whole number, 0 or more, got 2.5", self.refused("--set", "finetune.steps=2.5", "--out", folder))
            self.assertIn("expected --teacher beside it", self.refused("--transfer", "--out", folder))
            self.assertIn("expected each use of training, validation, test", self.refused(
                "--recipe", "recall-small", "--set", "data.pools={}", "--out", folder))
            self.assertIn("expected emulation 1", self.refused("--recipe", "recall-small", "--set", "finetune.leak=1", "--out", folder))
            self.assertIn("task: expected one of passkey, recall, got chess", self.refused("--set", "task='chess'", "--out", folder))
            self.assertIn("expected the file teacher.pt", self.refused("--teacher", f"{folder}/no", "--out", folder))
            for change, sentence in (("finetune.steps={1,2}", "expected a whole number"), ("model={1:2,'a':3}", "expected the keys heads"),
                                     ("finetune.steps={[]:1}", "expected a number or a list"), ("finetune.rate=1e999", "got inf"),
                                     ("data.lengths=[1]", "expected pairs of a length and a number, got 1"),
                                     ("data.lengths=[]", "data.lengths with a share above 0"), ("model.heads=0", "model sizes from 1 on"),
                                     ("model.heads=3", "a multiple of model.kv_heads"), ("tokenizer='x'", "tokenizer: expected a file")):
                self.assertIn(sentence, self.refused("--set", change, "--out", folder))
            self.assertIn("--lengths: expected whole numbers", self.refused("--lengths", "x", "--out", folder))
            recipe = pathlib.Path(folder) / "recipe.json"
            recipe.write_text('{"model": 3}')
            self.assertIn("expected the keys data, finetune", self.refused("--recipe", str(recipe), "--out", folder))
            self.assertIn(f"--out {recipe}: expected a folder, got a file", self.refused("--out", str(recipe)))
            recipe.write_text("[]")
            teacher, results = pathlib.Path(folder) / "teacher.pt", pathlib.Path(folder) / "results.json"
            teacher.touch()
            self.assertIn("expected a run with the model sizes", self.refused("--teacher", folder, "--out", folder))
            results.write_text("[1]")
            self.assertIn("expected the results of an earlier run", self.refused("--out", folder))
            for file in (recipe, teacher, results):
                file.unlink()
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])

    def test_without_pytorch_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "torch.py").write_text("raise ImportError\n")
            self.assertIn("PyTorch: expected", self.refused("--out", f"{folder}/out", PYTHONPATH=folder))
            self.assertFalse((pathlib.Path(folder) / "out").exists())

    def run_with_torch(self, program, *arguments):
        head = "import sys, torch; sys.path.insert(0, sys.argv[1]); torch.manual_seed(0)\n"
        run = subprocess.run([sys.executable, "-c", head + program, DISTILL, *arguments], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stderr)

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_chunks_are_the_recurrence(self):
        self.run_with_torch("""
import unit
feature = lambda: unit.feature_map(4 * torch.randn(2, 64, 4, 16).double(), torch.randn(4, 16, 8).double())
q, k, v, state = feature(), feature(), torch.randn(2, 2, 64, 16).double(), torch.rand(2, 4, 16, 17).double()
log_a = unit.log_gate(60 * torch.randn(2, 64, 2, 16).double())
for mine, exact in zip(unit.attend(q, k, log_a, v, state), unit.attend_recurrent(q, k, log_a, v, state)):
    assert (mine - exact).norm() < 1e-13 * exact.norm(), (mine - exact).norm() / exact.norm()
""")

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_a_stretched_token_changes_the_state_as_equal_tokens_in_a_row(self):
        self.run_with_torch("""
import unit
k = unit.feature_map(torch.randn(1, 1, 4, 16).double(), torch.randn(4, 16, 8).double())
v, state = torch.randn(1, 2, 1, 16).double(), torch.rand(1, 4, 16, 17).double()
log_a = unit.log_gate(20 * torch.randn(1, 1, 2, 16).double())
many = [x.expand(-1, -1, 7, -1) for x in (k, k, log_a, v)]
_, expected = unit.attend_recurrent(*many, state)
k, log_a = unit.stretch(k, log_a, torch.full((1, 1), 7.0).double())
_, mine = unit.attend_recurrent(k, k, log_a, v, state)
assert (mine - expected).norm() < 1e-6 * expected.norm(), (mine - expected).norm() / expected.norm()
""")

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_rounded_rows_miss_by_less_than_a_step_and_by_nothing_on_average(self):
        self.run_with_torch("""
import unit
state = torch.randn(3, 5, 9)
rounded = torch.stack([unit.round_rows(state, 8) for _ in range(4000)])
step = 2.0 ** (state[..., :-1].abs().amax(-1, keepdim=True).log2().floor() + 2 - 8)
assert (rounded[..., -1] == state[..., -1]).all()
assert ((rounded - state)[..., :-1].abs() < step * 1.001).all() and (rounded != state).any()
assert ((rounded.mean(0) - state)[..., :-1].abs() < step * 0.5 * 6 / 4000**0.5).all()
""")

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_filler_costs_what_it_makes_the_state_forget_and_what_an_answer_reads_of_it(self):
        self.run_with_torch("""
import math
import passkey_data, train
tokens, filler, excess = 12, range(3, 9), 30
region = torch.zeros(1, tokens, dtype=torch.long)
region[0, 2], region[0, list(filler)] = 2, 1
batch = passkey_data.Batch(None, None, torch.tensor([8]), region)  # answers are read at 7 .. 11
q, k = torch.ones(1, 2, tokens, 4), torch.zeros(1, 2, tokens, 4)
k[:, :, 2], k[:, :, 5] = 1, 0.25
penalties = lambda log_a: [x.item() for x in train.filler_penalties((q, k, log_a), batch, excess)]
leak, hold = penalties(torch.zeros(1, 1, tokens, 4))
assert hold == 0 and abs(leak - 0.8 * math.log1p(excess * 0.25)) < 1e-4, (leak, hold)
log_a = torch.zeros(1, 1, tokens, 4)
log_a[:, :, 6] = -0.5  # filler behind the needle and behind what is read of filler: both fade alike
faded, hold = penalties(log_a)
assert abs(faded - leak) < 1e-4 and abs(hold - 0.8 * math.log1p(excess * 0.5)) < 1e-4, (faded, hold)
log_a = torch.zeros(1, 1, tokens, 4)
log_a[:, :, 2] = -9  # the needle's own gate may forget
assert penalties(log_a)[1] == 0, penalties(log_a)
""")

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_a_run_that_goes_on_at_a_checkpoint_ends_with_the_same_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            self.run_with_torch("""
import json, pathlib
import model, passkey_data, train
recipe = json.loads((pathlib.Path(sys.argv[1]) / "recipes/passkey-tiny.json").read_text())
recipe["data"] |= {"tokens_per_step": 256, "lengths": [[128, 1]]}
recipe["finetune"] |= {"steps": 6, "average": 0.5, "state_bits": 8, "leak": 0.1, "hold": 0.1}
train.Run.KEPT_EVERY = 2
geometry = model.Geometry(1, 64, 64, 2, 1, 256)
start = model.LanguageModel(geometry, True).state_dict()

def trained(folder, steps_before_a_stop=None):
    class Stops(passkey_data.PasskeyData):
        calls = 0
        def training(self, *arguments):
            self.calls += 1
            if self.calls - 1 == steps_before_a_stop:
                raise KeyboardInterrupt
            return super().training(*arguments)
    student = model.LanguageModel(geometry, True)
    student.load_state_dict(start)
    stops = Stops(pathlib.Path(sys.argv[1]) / recipe["tokenizer"], torch.device("cpu"))
    return train.finetune(student, 3, recipe, stops, folder, lambda row: None).state_dict()

one, two = pathlib.Path(sys.argv[2]) / "one", pathlib.Path(sys.argv[2]) / "two"
one.mkdir(), two.mkdir()
straight = trained(one)
try:
    trained(two, 5)
    raise AssertionError("was not stopped")
except KeyboardInterrupt:
    pass
resumed = trained(two)
assert any((straight[name] != start[name]).any() for name in start)
assert all((straight[name] == resumed[name]).all() for name in start)
""", folder)

    @unittest.skipUnless(TORCH and PROGRAM, "needs PyTorch and lawcat-sim")
    def test_a_tiny_run_resumes_and_its_export_gives_the_same_logits_in_lawcat_sim(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, DISTILL / "distill", "--device", "cpu", "--samples", "1", "--lengths", "128", "--out", folder]
            command += [word for change in TINY for word in ("--set", change)]
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            before = (pathlib.Path(folder) / "student/model.safetensors").read_bytes()
            subprocess.run(command, check=True, capture_output=True, timeout=300)
            self.assertEqual((pathlib.Path(folder) / "student/model.safetensors").read_bytes(), before)
            self.assertIn("expected an empty folder", self.refused("--out", folder))
            for name in ("teacher", "student"):
                expected = f"{folder}/{name}/expected.safetensors"
                subprocess.run([PROGRAM, "logits", "--model", f"{folder}/{name}", "--tokens", expected, "--result", f"{folder}/logits"],
                               check=True, capture_output=True, timeout=120)
                mine, theirs = (self.logits(path) for path in (f"{folder}/logits", expected))
                error = sum((a - b) ** 2 for a, b in zip(mine, theirs)) / sum(b * b for b in theirs)
                self.assertLess(error**0.5, 1e-5)

    RECALL = """
import json, pathlib
import recall_data
recipe = json.loads((pathlib.Path(sys.argv[1]) / "recipes/recall-small.json").read_text())
every = "s-niah-1,s-niah-2,s-niah-3,babilong-qa2,babilong-qa3"
pool = lambda use, tasks, tokens, samples: {"use": use, "split": "train", "tasks": tasks, "tokens": tokens, "samples": samples, "seed": 1, "share": 0.5}
recipe["data"]["pools"] = {"facts": pool("training", "babilong-qa2,babilong-qa3", "0", 8), "long": pool("training", every, "512,768", 100),
                           "validation": pool("validation", every, "512", 5), "test": pool("test", every, "512,768", 30)}
tokenizer = pathlib.Path(sys.argv[1]) / recipe["tokenizer"]
make = lambda: recall_data.RecallData(recipe, tokenizer, torch.device("cpu"), sys.argv[2], sys.argv[3])
data, generator = make(), torch.Generator().manual_seed(1)
"""

    @unittest.skipUnless(TORCH and PROGRAM, "needs PyTorch and lawcat-sim")
    def test_recall_batches_ask_for_what_the_prompt_says_with_numbers_that_change(self):
        with tempfile.TemporaryDirectory() as folder:
            self.run_with_torch(self.RECALL + """
digits_of, places, objects = (group.tolist() for group in data.groups)
assert list(map(len, data.groups)) == [10, 6, 3]
numbers = set()
for step in range(24):
    ids, labels = data.training(generator, 20, 768, recipe["data"] | {"look_back": 0})
    assert ids.shape == labels.shape == (20, 768) and (ids[:, 0] == recall_data.BOS).all() and ((labels == 0) == (ids == 0)).all()
    for row, label in zip(ids.tolist(), labels.tolist()):
        answer = [i for i, kind in enumerate(label) if kind == 3]
        assert answer == list(range(answer[0], answer[-1] + 1)) and row[answer[-1]] == data.eos and label.count(1) == answer[0]
        before, said = ",".join(map(str, row[: answer[0]])), row[answer[0] : answer[-1] - 1]
        if said[-1] in places:
            assert f",{said[-1]}," in before and any(token in objects for token in said)
        else:
            assert ",".join(map(str, said[-7:])) in before
            numbers.add(tuple(said[-7:]))
assert len(numbers) > 70, len(numbers)  # of 60 prompts in the pool
""", folder, PROGRAM)

    @unittest.skipUnless(TORCH and PROGRAM, "needs PyTorch and lawcat-sim")
    def test_sequences_that_teach_to_look_back_say_what_comes_next(self):
        with tempfile.TemporaryDirectory() as folder:
            self.run_with_torch(self.RECALL + """
for tokens in (64, 768):
    ids, labels = data.training(generator, 12, tokens, recipe["data"] | {"look_back": 1})
    for row, label in zip(ids.tolist(), labels.tolist()):
        asked = [i for i, kind in enumerate(label) if kind == 3]
        assert len(asked) >= tokens // 2 - 2
        for i in asked:
            before = max(j for j in range(i - 1) if row[j] == row[i - 1])
            assert row[before + 1] == row[i]
""", folder, PROGRAM)

    @unittest.skipUnless(TORCH and PROGRAM, "needs PyTorch and lawcat-sim")
    def test_a_pool_of_other_prompts_or_a_broken_one_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            self.run_with_torch(self.RECALL + """
path = pathlib.Path(sys.argv[2]) / "long.safetensors"
whole = path.read_bytes()
def refused(sentence):
    try:
        make()
    except recall_data.Refused as refusal:
        assert sentence in str(refusal) and str(path) in str(refusal), refusal
    else:
        raise AssertionError("was taken")
recipe["data"]["pools"]["long"]["seed"] = 2
refused("'seed': '1'")
recipe["data"]["pools"]["long"]["seed"] = 1
for cut in (0, 5, 200, len(whole) // 2):
    path.write_bytes(whole[:cut])
    refused("expected a file of lawcat-sim prompts")
path.unlink()
sys.argv[3] = "nowhere/lawcat-sim"
refused("--program nowhere/lawcat-sim: expected lawcat-sim")
""", folder, PROGRAM)

    def logits(self, path):
        raw = pathlib.Path(path).read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        begin, end = json.loads(raw[8 : 8 + size])["logits"]["data_offsets"]
        return struct.unpack(f"<{(end - begin) // 4}f", raw[8 + size + begin : 8 + size + end])


if __name__ == "__main__":
    unittest.main()
