# SPDX-License-Identifier: Apache-2.0
# The scripts that run on a GPU machine, as far as they go without one.
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LAWCAT_SIM")
SHAPE = {"heads": 32, "kv_heads": 8, "head_dim": 64, "feature_dim": 32}


def load_peers():
    spec = importlib.util.spec_from_file_location("gpu_peers", SOURCE / "scripts/gpu_peers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timing(peer, tokens, seconds):
    return {"peer": peer, "shape": SHAPE, "operation": "prefill", "tokens": tokens, "batch": 1, "median_s": seconds,
            "min_s": seconds, "max_s": seconds, "repetitions": 9, "method": "graph"}


class Peers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "gpu.json"
        self.peers = load_peers()
        self.reference = {
            "schema": "lawcat-gpu/1", "device": "a GPU", "driver": "1", "cuda": "13.0", "date": "2026-01-01", "commit": "c",
            "sms": 132, "l2_bytes": 5e7, "copy_bytes_per_s": 4e12, "gates": "plain", "energy_reason": "none",
            "measurements": [{"attention": "unit", **{k: v for k, v in timing("", 1024, 1e-5).items() if k != "peer"}}]}
        self.file.write_text(json.dumps(self.reference))
        self.found = {"device": "a GPU", "gates": "plain", "software": {"torch": "2.11"}, "missing": [{"peer": "gla_chain", "reason": "r"}],
                      "timings": [timing("softmax_flash", 1024, 2e-5), timing("softmax_flash", 4096, 3e-5)],
                      "accuracy": [{"peer": "chunk_gla", "gates": "long", "shape": SHAPE, "tokens": 1500, "rel_l2_o": 1e-3,
                                    "rel_l2_state": 2e-3}]}

    def test_rows_are_added_and_those_of_the_same_call_replaced(self):
        self.peers.merge(self.file, self.found)
        self.found["timings"] = [timing("softmax_flash", 4096, 4e-5), timing("gla_chain", 1024, 1e-3)]
        self.found["missing"] = []
        self.peers.merge(self.file, self.found)
        peers = json.loads(self.file.read_text())["peers"]
        self.assertEqual([(row["peer"], row["tokens"], row["median_s"]) for row in peers["timings"]],
                         [("softmax_flash", 1024, 2e-5), ("softmax_flash", 4096, 4e-5), ("gla_chain", 1024, 1e-3)])
        self.assertEqual((len(peers["accuracy"]), peers["missing"]), (1, []))
        self.assertEqual(os.listdir(self.file.parent), ["gpu.json"])

    def test_the_program_reads_what_was_merged(self):
        if not PROGRAM:
            self.skipTest("needs lawcat-sim")
        self.peers.merge(self.file, self.found)
        shown = subprocess.run([PROGRAM, "gpu", "--show", self.file], text=True, stdout=subprocess.PIPE, check=True).stdout
        self.assertIn("2.00 x", shown)
        self.assertIn("gla_chain             missing: r", shown)

    def test_another_device_or_version_is_refused_and_the_file_left_alone(self):
        for change in ({"device": "another"}, {"gates": "spiky"}, {"schema": "lawcat-gpu/2"},
                       {"peers": {"software": {"torch": "1"}, "timings": [], "accuracy": [], "missing": []}},
                       {"peers": []}, {"peers": {"software": {}, "timings": [1], "accuracy": [], "missing": []}}):
            with self.subTest(change=change):
                text = json.dumps({**self.reference, **change})
                self.file.write_text(text)
                with self.assertRaises(self.peers.Refusal):
                    self.peers.merge(self.file, self.found)
                self.assertEqual(self.file.read_text(), text)

    def test_the_table_has_a_line_for_every_row(self):
        self.assertEqual(len(self.peers.table(self.found).splitlines()), 1 + 2 + 1 + 1)

    def test_bad_usage_and_a_missing_pytorch_are_one_sentence(self):
        cases = [("--shape nosuch", "nosuch"), ("--shape llama3.2-1b --tokens x", "--tokens"),
                 ("--shape passkey-tiny-teacher", "LAWCAT"), (f"--shape llama3.2-1b --into {self.file}.not", "--into")]
        for name, text in (("list", "[]"), ("cut", '{"a')):  # before anything is measured
            file = self.file.with_name(name)
            file.write_text(text)
            cases.append((f"--shape llama3.2-1b --into {file}", str(file)))
        if importlib.util.find_spec("torch") is None:
            cases.append(("--shape llama3.2-1b", "PyTorch is not installed"))
        for arguments, sentence in cases:
            with self.subTest(arguments=arguments):
                done = subprocess.run([sys.executable, "-B", SOURCE / "scripts/gpu_peers.py", *arguments.split()], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
                self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), done.stderr)
                self.assertIn(sentence, done.stderr)


class Capture(unittest.TestCase):
    SCRIPT = SOURCE / "scripts/capture_gpu"

    def run_script(self, *arguments, code=0):
        done = subprocess.run([self.SCRIPT, *map(str, arguments)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=240, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def test_records_vectors_and_results_that_belong_together_and_are_small(self):
        if not PROGRAM:
            self.skipTest("needs lawcat-sim")
        with tempfile.TemporaryDirectory() as folder:
            self.run_script("--backend", "reference", "--program", PROGRAM, folder)
            files = sorted(pathlib.Path(folder).iterdir())
            self.assertEqual(len(files), 2 * (4 + 3 + 1))
            self.assertLess(sum(file.stat().st_size for file in files), 6 << 20)
            for file in files:
                if file.name.endswith(".vectors.safetensors"):
                    subprocess.run([PROGRAM, "unit", "--vectors", file, "--backend", "reference", "--against", "gpu",
                                    "--tolerance", "0"], stdout=subprocess.PIPE, check=True)

    def test_a_run_that_breaks_off_leaves_what_was_there(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "program"
            program.write_text("""#!/bin/bash
[[ $1 != list ]] || printf 'backends\n  cuda  available\n'
for word in "$@"; do
  [[ $word == *-128.gpu.safetensors ]] && exit 1
  [[ $word == *.safetensors ]] && echo new > "${word#*=}"
done
exit 0
""")
            program.chmod(0o755)
            kept = pathlib.Path(folder) / "expected/random-plain-64.gpu.safetensors"
            kept.parent.mkdir()
            kept.write_text("old")
            self.run_script("--program", program, kept.parent, code=1)
            self.assertEqual((kept.read_text(), os.listdir(kept.parent)), ("old", [kept.name]))
            self.assertEqual(sorted(os.listdir(folder)), ["expected", "program"])

    def test_bad_usage_is_one_sentence(self):
        self.assertIn("usage:", self.run_script("--nosuch", code=2).stderr)
        self.assertIn("lacks its value", self.run_script("--backend", code=2).stderr)
        for program in ("/nowhere/lawcat-sim", "/tmp"):
            self.assertIn("is not there", self.run_script("--program", program, code=2).stderr)
        for program in ("/bin/false", "/bin/true"):
            self.assertIn("expected lawcat-sim with the backend cuda", self.run_script("--program", program, code=2).stderr)
        self.assertIn("expected one FOLDER", self.run_script("--program", "/bin/true", "a", "b", code=2).stderr)

    @unittest.skipUnless(PROGRAM, "needs lawcat-sim")
    def test_a_place_that_cannot_be_written_is_one_sentence(self):
        for place in ("/dev/null", "/dev/null/x", "/proc/x", ""):
            said = self.run_script("--program", PROGRAM, place, code=2).stderr
            self.assertEqual(said, f"scripts/capture_gpu: expected a FOLDER that can be written, got '{place}'\n")
        self.assertIn("the backend nosuch", self.run_script("--program", PROGRAM, "--backend", "nosuch", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
