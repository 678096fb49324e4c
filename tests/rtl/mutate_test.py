# SPDX-License-Identifier: Apache-2.0
# scripts/mutate without its half hour: every fault has its place in the sources, and what is wrong is said in a sentence.
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Mutants(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for part in ("rtl/cells", "rtl/core"):
            shutil.copytree(SOURCE / part, self.folder / part)
        for file in ("scripts/mutate", "scripts/outputs.py", "tests/rtl/mutants.toml"):
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / file, self.folder / file)

    def mutate(self, *arguments):
        done = subprocess.run([sys.executable, "-B", self.folder / "scripts/mutate", *arguments], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_every_fault_has_its_place_and_every_module_a_fault(self):
        code, text, errors = self.mutate("--list")
        self.assertEqual((code, errors), (0, ""))
        mutants = tomllib.loads((SOURCE / "tests/rtl/mutants.toml").read_text())["mutant"]
        self.assertEqual(len(text.splitlines()), len(mutants))
        for mutant in mutants:
            self.assertLessEqual(set(mutant), {"name", "preset", "file", "text", "fault", "why", "equivalent"})
            self.assertNotEqual(mutant["text"], mutant["fault"])
        # lawcat_top only joins tiles.
        self.assertEqual({f"{file.parent.name}/{file.name}" for file in (SOURCE / "rtl").glob("c*/*.sv")}
                         - {mutant["file"] for mutant in mutants},
                         {"core/lawcat_top.sv"})

    def refused(self, sentence, *arguments):
        code, text, errors = self.mutate(*arguments)
        self.assertEqual((code, text, errors.count("\n")), (2, "", 1), errors)
        self.assertIn(sentence, errors)

    def test_a_changed_source_and_an_unknown_fault_are_noticed(self):
        self.refused("there is no fault no_such", "--only", "align.sign,no_such")
        self.assertEqual(self.mutate("--preset", "huge")[0], 2)
        file = self.folder / "file"
        file.write_text("kept")
        self.refused(f"--out {file}: expected a folder that can be written", "--out", str(file))
        self.refused("--out /proc/x: expected a folder that can be written", "--out", "/proc/x")
        (self.folder / "out/mutate.json").mkdir(parents=True)
        self.refused("the file mutate.json in it, got a folder", "--out", str(self.folder / "out"))
        faults = self.folder / "tests/rtl/mutants.toml"
        known = faults.read_text()
        faults.write_text(known + '\n[[mutant]]\nname = "x"\npreset = "huge"\n')
        self.refused("x: expected preset nano or wide, got huge", "--list")
        faults.write_text(known)
        file = self.folder / "rtl/cells/lawcat_align.sv"
        file.write_text(file.read_text().replace("wide >>> right_i", "$signed(wide) >>> right_i"))
        self.refused("align.sign: expected its text once in rtl/cells/lawcat_align.sv, got it 0 times", "--list")


if __name__ == "__main__":
    unittest.main()
