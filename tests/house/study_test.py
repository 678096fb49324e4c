# SPDX-License-Identifier: Apache-2.0
# The study of formats on tiny settings: its table and picture, what it resumes, what it refuses.
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

PROGRAM = os.environ.get("LAWCAT_SIM")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = SOURCE / "scripts/study_formats"


@unittest.skipUnless(PROGRAM, "needs lawcat-sim")
class Study(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def command(self, *more):
        return [SCRIPT, "--program", PROGRAM, "--models", "passkey-tiny", "--tokens", "100,200", "--samples", "2,1",
                "--slow-samples", "1,1", "--jobs", "2", "--cache", self.folder / "cache.json", "--into", self.folder, *more]

    def study(self, *more, code=0):
        done = subprocess.run(self.command(*more), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240,
                              check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def test_measures_every_format_once_and_says_how_it_did(self):
        first = self.study()
        rows = [line.split(" | ") for line in first.stdout.splitlines() if line.startswith("| ")][1:]
        self.assertEqual(len(rows), 3 * 8 + 4 + 9)
        cell = r"[012]/[12], -?[0-9.]+ dB"
        for row in rows:
            self.assertRegex(row[3], rf"^{cell}$")
            self.assertRegex(row[4], rf"^{cell} \|$")
        self.assertIn("`scripts/study_formats --models passkey-tiny --tokens 100,200 ", first.stdout)
        self.assertNotIn(str(self.folder), first.stdout)
        picture = (self.folder / "formats.svg").read_text()
        root = xml.etree.ElementTree.fromstring(picture)
        self.assertEqual(len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))), 3 * 2 * 2)
        self.assertEqual((self.folder / "formats.md").read_text(), first.stdout)

        again = self.study()
        self.assertIn("0 commands to run", again.stderr)
        self.assertEqual(again.stdout, first.stdout)
        self.assertEqual((self.folder / "formats.svg").read_text(), picture)

    def test_figures_are_those_of_the_commands(self):
        printed = self.study("--only", "bfp8e8").stdout
        nearest = re.search(r"\| bfp8e8 \| nearest even \| (\d)/2, (-?[0-9.]+) dB", printed)
        self.assertTrue(nearest, printed)
        subprocess.run([PROGRAM, "eval", "--tokens", "100", "--samples", "2", "--seed", "7", "--noise", "0.5", "--set",
                        "datapath.state=bfp8e8", "--set", "datapath.state_rounding=nearest_even", "--set",
                        "datapath.normaliser=bfp24e8", "--out", self.folder / "eval"], check=True, stdout=subprocess.DEVNULL)
        report = json.loads((self.folder / "eval/eval.json").read_text())
        self.assertEqual(int(nearest[1]), report["results"][0]["correct"])

    def test_a_readme_takes_the_table_between_its_marks(self):
        readme = self.folder / "README.md"
        readme.write_text("before\n<!-- study_formats -->\nold\n<!-- /study_formats -->\nafter\n")
        printed = self.study("--only", "bfp8e8").stdout
        self.assertEqual(readme.read_text(), f"before\n<!-- study_formats -->\n{printed}<!-- /study_formats -->\nafter\n")
        readme.write_text("no marks\n")
        self.assertIn("README.md with the marks", self.study("--only", "bfp8e8", code=2).stderr)
        self.assertEqual(readme.read_text(), "no marks\n")

    def test_goes_on_after_an_interrupt(self):
        running = subprocess.Popen(self.command("--tokens", "4096"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        cache = self.folder / "cache.json"
        while not cache.exists() and running.poll() is None:
            time.sleep(0.05)
        self.assertTrue(cache.exists(), "the study was to be long enough to be interrupted")
        running.send_signal(signal.SIGTERM)
        self.assertIn("interrupted", running.communicate(timeout=60)[1])
        self.assertEqual(running.returncode, 130)
        kept = len(json.loads(cache.read_text()))
        self.assertGreater(kept, 0)
        self.assertIn(f"{kept} in the cache", self.study("--tokens", "4096", "--estimate").stderr)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["cache.json"])

    def test_bad_input_is_said_and_leaves_nothing(self):
        for sentence, *arguments in (
                ("--models nosuch: expected a folder with weights", "--models", "nosuch"),
                ("expected formats of the study, got bfp9e8", "--only", "bfp9e8"),
                ("--program", "--program", "/nowhere/lawcat-sim"),
                ("--samples", "--samples", "0,1"),
                ("--tokens", "--tokens", "10"),
                ("--noise: expected a number, got nan", "--noise", "nan"),
                ("lawcat-sim: --preset", "--preset", "nosuch"),
                ("expected lawcat-sim, got a program that ends with 1", "--program", "/bin/false"),
                ("expected lawcat-sim, got a program that ends with 0", "--program", "/bin/true"),
                ("--into /proc/x: expected a place that can be written", "--into", "/proc/x"),
                ("--into /dev/null: expected a place that can be written", "--into", "/dev/null"),
                ("--cache /proc/x/y: expected a place that can be written", "--cache", "/proc/x/y")):
            with self.subTest(arguments=arguments):
                done = self.study(*arguments, code=2)
                self.assertIn(sentence, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(list(self.folder.iterdir()), [])
        cache = self.folder / "cache.json"
        for text in ("[]", '{"a": 3}', '{"a": {"sqnr_db": "b"}}', '{"a'):
            cache.write_text(text)
            self.assertIn("expected a cache of this script", self.study(code=2).stderr)
            self.assertEqual(cache.read_text(), text)
        cache.unlink()
        for name in ("README.md", "formats.svg", "formats.md"):
            (self.folder / name).mkdir()
            self.assertIn(f"expected {name} in it to be a file", self.study(code=2).stderr)
            (self.folder / name).rmdir()
        (self.folder / "program").write_text("text\n")
        (self.folder / "program").chmod(0o755)
        self.assertIn("expected lawcat-sim, got: Exec format error", self.study("--program", self.folder / "program", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
