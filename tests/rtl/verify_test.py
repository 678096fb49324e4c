# SPDX-License-Identifier: Apache-2.0
# scripts/verify_rtl with a program in the place of rtl_random that says what the test has it say: what is kept between
# runs and for which state of the sources, when a run fails, what is refused. And what rtl_random itself refuses.
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("LAWCAT_RTL_RANDOM")
RANDOM = """#!{python}
import json, pathlib, sys
root = pathlib.Path({root!r})
preset, head_tokens, seed = sys.argv[2], int(sys.argv[4]), int(sys.argv[6])
with open(root / "asked", "a") as asked:
    print(*sys.argv[1:], file=asked)
missed, differences = json.loads((root / "says").read_text()).get(str(seed), ["", 0])
for i in range(differences):
    print(f"{{preset}}: DIFFERENCE seed {{seed + i}}: got 1")
print(f"{{preset}}: 2 scenarios (seeds {{seed}} to {{seed + 1}}), {{head_tokens}} head-tokens, 9 packets, 100 cycles, "
      f"{{differences}} differences; 0.5 M cycles/s")
print(f"{{preset}}: 90 of 92 coverage points met" + (f"; not {{missed}}" if missed else ""))
sys.exit(differences > 0)
"""


class Verify(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name).resolve()
        for file in ("scripts/verify_rtl", "scripts/outputs.py", "hostlib/arch/presets/nano.json", "tests/rtl/small.json",
                     "rtl/CMakeLists.txt", "rtl/bench/roll_lanes.py", "rtl/bench/tile.h", "rtl/bench/libraries.cc.in", "hostlib/arch/tile_layout.cc",
                     "hostlib/arch/rtl_package.cc", "hostlib/numerics/format.cc", "tests/rtl/scoreboard.h"):
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / file, self.folder / file)
        self.progress = self.folder / "build/verify/progress.json"
        self.program("build/verify/tests/rtl/rtl_random", RANDOM.format(python=sys.executable, root=str(self.folder)))
        self.program("bin/cmake", f'#!/bin/bash\necho "$*" >> {self.folder}/configured\n')
        self.says({})

    def program(self, path, text):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def says(self, missed_and_differences):
        """By seed of a batch; other batches miss no point and differ nowhere."""
        (self.folder / "says").write_text(json.dumps(missed_and_differences))

    def asked(self):
        """Head-tokens and seed of each batch since the last question."""
        file = self.folder / "asked"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [(int(line.split()[3]), int(line.split()[5])) for line in lines]

    def verify(self, *arguments, code=0):
        done = subprocess.run([sys.executable, "-B", self.folder / "scripts/verify_rtl", *map(str, arguments)], text=True,
                              env={**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}, cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout if code < 2 else done.stderr

    def run_nano(self, head_tokens, *arguments, code=0):
        return self.verify("--presets", "nano", "--batch", 20, "--head-tokens", head_tokens, *arguments, code=code)

    def test_batches_go_on_and_meet_the_points_together(self):
        self.says({"1": ["heads.1, reset.idle", 0], "3": ["reset.idle, row.empty", 0]})
        text = self.run_nano(40, code=1)
        self.assertIn("nano: coverage points not met: reset.idle\n", text)
        self.assertEqual(self.asked(), [(20, 1), (20, 3)])
        self.run_nano(40, code=1)  # as it is recorded
        self.assertEqual(self.asked(), [])
        text = self.run_nano(50)
        self.assertIn("nano: 50 head-tokens, 27 packets, 6 scenarios (seeds 1 to 6), 300 cycles, 0 differences", text)
        self.assertNotIn("not met", text)
        self.assertEqual(self.asked(), [(10, 5)])
        self.assertEqual([file.name for file in self.progress.parent.glob("progress*")], ["progress.json"])

    def test_another_first_seed_is_another_run(self):
        self.run_nano(20)
        self.assertIn("(seeds 7 to 8)", self.run_nano(20, "--seed", 7))
        self.assertEqual(self.asked(), [(20, 1), (20, 7)])
        self.run_nano(20, "--restart")
        self.assertEqual(self.asked(), [(20, 1)])

    def test_a_difference_is_shown_again(self):
        self.says({"3": ["heads.1", 2]})
        for batches in ([(20, 1), (20, 3)], []):
            text = self.run_nano(100, code=1)
            self.assertIn("nano: DIFFERENCE seed 3: got 1\nnano: DIFFERENCE seed 4: got 1\nnano: 40 head-tokens", text)
            self.assertEqual(self.asked(), batches)

    def test_a_change_of_what_results_hold_for_starts_anew(self):
        self.run_nano(20)
        self.asked()
        for file in sorted(self.folder.glob("[hrt]*/**/*.*")):
            if file.is_file():
                with self.subTest(file=file.relative_to(self.folder)):
                    file.write_text(file.read_text() + "\n")
                    self.run_nano(20)
                    self.assertEqual(self.asked(), [] if file.name == "small.json" else [(20, 1)])

    def test_a_preset_may_be_a_file(self):
        small = self.folder / "tests/rtl/small.json"
        for _ in range(2):
            self.verify("--presets", "nano,tests/rtl/small.json", "--head-tokens", 5)
            self.assertIn(f"-DLAWCAT_RTL_PRESETS=nano;{small} ", (self.folder / "configured").read_text())
        self.assertIn(f"--presets {small} ", (self.folder / "asked").read_text())
        self.assertEqual(len(self.asked()), 2)
        small.write_text(small.read_text() + "\n")
        self.verify("--presets", "nano,tests/rtl/small.json", "--head-tokens", 5)
        self.assertEqual(len(self.asked()), 1)

    def test_wrong_arguments_and_a_broken_record_are_said(self):
        for arguments, sentence in (("--head-tokens x", "--head-tokens: expected a number from 1 on, got x"),
                                    ("--head-tokens 0", "from 1 on, got 0"), ("--batch 0", "from 1 on, got 0"),
                                    ("--seed -1", "--seed"), ("--presets nano,pico", "or their files, got pico"),
                                    ("--presets tests/pico.json", "or their files, got tests/pico.json"),
                                    ("--coverage --presets nano,nano", "--coverage: expected one preset, got 2"),
                                    ("--report-only", "--report-only: expected --coverage beside it"),
                                    ("--coverage --least nan", "--least: expected 0 to 100 per cent, got nan"),
                                    ("--coverage --report-only", "coverage.dat: expected what --coverage recorded")):
            with self.subTest(arguments=arguments):
                self.assertIn(sentence, self.verify(*arguments.split(), code=2))
        self.progress.write_text('{"cut')
        self.assertIn("expected a record of earlier runs", self.run_nano(20, code=2))
        self.assertEqual(self.asked(), [])
        self.run_nano(20, "--restart")
        self.progress.unlink()
        self.progress.mkdir()
        self.assertIn("expected a record of earlier runs", self.run_nano(20, code=2))

    def test_a_coverage_file_of_other_sources_is_said(self):
        data = self.folder / "build/verify_coverage/coverage.dat"
        data.parent.mkdir(parents=True)
        for fields in ("\1page\2v_line/a\1l\0021", f"\1page\2v_line/a\1f\2{self.folder}/rtl/core/gone.sv\1l\0021"):
            data.write_text(f"C '{fields}' 1\n")
            self.assertIn("coverage.dat: expected what --coverage recorded of these sources",
                          self.verify("--coverage", "--report-only", code=2))

    def test_what_does_not_build_or_does_not_answer_is_said(self):
        self.program("build/verify/tests/rtl/rtl_random", "#!/bin/bash\nexit 9\n")
        self.verify("--presets", "nano", code=1)
        self.program("bin/cmake", "#!/bin/bash\nexit 1\n")
        self.assertIn("does not build", self.verify("--presets", "nano", code=3))


@unittest.skipUnless(PROGRAM, "needs rtl_random")
class Random(unittest.TestCase):
    def random(self, *arguments, code):
        done = subprocess.run([PROGRAM, *arguments], cwd=SOURCE, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, timeout=60)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr if code else done.stdout

    def test_presets_go_by_name_and_by_file(self):
        for wide in ("wide", "tests/rtl/wide.json", str(SOURCE / "tests/rtl/wide.json")):
            said = self.random("--presets", f"nano,{wide}", "--scenarios", "1", "--budget", "300", code=0)
            self.assertRegex(said, r"nano: 1 scenarios .*\n.*\n.*/wide\.json: 1 scenarios ")

    def test_what_is_not_built_and_what_is_no_number_is_refused_in_a_sentence(self):
        for arguments, sentence in (("--presets nano,wide2", 'expected presets of this build (nano, '),
                                    ("--presets nano,", 'got ""'), ("--presets tests/wide.json", 'got "tests/wide.json"'),
                                    ("--head-tokens 1k", '--head-tokens: expected a number from 1 on, got "1k"'),
                                    ("--scenarios 0", "--scenarios"), ("--seed -1", "from 0 on"), ("--seed", "--seed"),
                                    ("--preset nano", "no argument --preset")):
            with self.subTest(arguments=arguments):
                said = self.random(*arguments.split(), code=2)
                self.assertEqual((said[:12], said.count("\n")), ("rtl_random: ", 1), said)
                self.assertIn(sentence, said)


if __name__ == "__main__":
    unittest.main()
