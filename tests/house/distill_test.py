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
    def refused(self, *arguments):
        run = subprocess.run([sys.executable, DISTILL / "distill", *arguments], capture_output=True, text=True, timeout=120)
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
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])

    @unittest.skipUnless(TORCH, "needs PyTorch")
    def test_chunks_are_the_recurrence(self):
        program = """
import sys, torch; sys.path.insert(0, sys.argv[1]); import unit
torch.manual_seed(0)
feature = lambda: unit.feature_map(4 * torch.randn(2, 64, 4, 16).double(), torch.randn(4, 16, 8).double())[0]
q, k, v, state = feature(), feature(), torch.randn(2, 2, 64, 16).double(), torch.rand(2, 4, 16, 17).double()
log_a = unit.log_gate(60 * torch.randn(2, 64, 2, 16).double())
for mine, exact in zip(unit.attend(q, k, log_a, v, state), unit.attend_recurrent(q, k, log_a, v, state)):
    assert (mine - exact).norm() < 1e-13 * exact.norm(), (mine - exact).norm() / exact.norm()
"""
        subprocess.run([sys.executable, "-c", program, DISTILL], check=True, timeout=120)

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

    def logits(self, path):
        raw = pathlib.Path(path).read_bytes()
        (size,) = struct.unpack("<Q", raw[:8])
        begin, end = json.loads(raw[8 : 8 + size])["logits"]["data_offsets"]
        return struct.unpack(f"<{(end - begin) // 4}f", raw[8 + size + begin : 8 + size + end])


if __name__ == "__main__":
    unittest.main()
