# SPDX-License-Identifier: Apache-2.0
# scripts/synth on small modules with a library that Debian ships, and what it says of input it cannot use.
import json
import lzma
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = pathlib.Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
TOOLS = all(shutil.which(tool) for tool in ("yosys", "yosys-abc", "sta"))
sys.path.insert(0, str(SOURCE / "scripts"))
sys.dont_write_bytecode = True
from synth_cells import Cell, Refusal, read_groups, verilog  # noqa: E402


class Synth(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def synth(self, *arguments, code=0, path=None):
        done = subprocess.run([sys.executable, "-B", SOURCE / "scripts/synth", *map(str, arguments), "--out", self.folder / "out"],
                              env={**os.environ, "PATH": path or os.environ["PATH"]}, text=True, check=False, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}\n{done.stderr}")
        if code:
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            self.assertEqual([entry.name for entry in self.folder.iterdir() if not entry.is_file()], [])
            return done.stderr
        return json.loads((self.folder / "out/synth.json").read_text())

    def write(self, name, text):
        file = self.folder / name
        file.write_text(text)
        return file

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_area_and_timing_of_small_modules(self):
        report = self.synth(LIBRARY, "--module", "lawcat_fifo", "lawcat_token_buffer", "--clock-ps", 4000,
                            "--memory-ps", "2000,500", "--wire-ff", 10)
        fifo, buffer = report["area"]["lawcat_fifo"], report["area"]["lawcat_token_buffer"]
        self.assertEqual((fifo["memory_bits"], fifo["memories"]), (0, {}))
        self.assertGreater(fifo["flip_flops"], 10)
        self.assertGreater(fifo["logic_um2"], 96 * fifo["flip_flops"])  # a flip-flop of this library has 96
        self.assertEqual(buffer["memories"], {"16x64": 1})
        self.assertEqual(buffer["memory_bits"], 16 * 64)
        for module, timed in report["timing"].items():
            self.assertGreater(timed["period_ps"], 500, module)
            self.assertLess(timed["period_ps"], 8000, module)
            self.assertEqual(timed["period_ps"], timed["paths"][0]["period_ps"])
        # What comes out of the memory takes its time, with the path behind it.
        memory = next(path for path in report["timing"]["lawcat_token_buffer"]["paths"] if path["from"].startswith("u_memory"))
        self.assertGreaterEqual(memory["period_ps"], 2000)
        self.assertIn("lawcat_fifo", (self.folder / "out/synth.txt").read_text())

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_libraries_come_compressed_too(self):
        packed = self.folder / "cells.lib.xz"
        packed.write_bytes(lzma.compress(LIBRARY.read_bytes(), preset=0))
        self.assertGreater(self.synth(packed, "--module", "lawcat_skid_buffer")["area"]["lawcat_skid_buffer"]["logic_um2"], 0)

    @unittest.skipUnless(TOOLS, "needs yosys and opensta")
    def test_what_cannot_be_used_is_refused_in_a_sentence(self):
        module = ("--module", "lawcat_fifo")
        self.assertIn("No such file", self.synth(self.folder / "none.lib", *module, code=2))
        self.assertIn("not Liberty", self.synth(self.write("text.lib", "this is no library\n"), *module, code=2))
        self.assertIn("not one complete library", self.synth(self.write("cut.lib", "library (x) { cell (A) {"), *module, code=2))
        self.assertIn("not an xz file", self.synth(self.write("plain.lib.xz", "library (x) {}"), *module, code=2))
        self.assertIn("flip-flop", self.synth(self.write("empty.lib", "library (x) { time_unit : \"1ns\"; }"), *module, code=2))

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_wrong_names_and_tables_are_refused(self):
        self.assertIn("no module lawcat_flfo", self.synth(LIBRARY, "--module", "lawcat_flfo", code=2))
        self.assertIn("no preset large", self.synth(LIBRARY, "--preset", "large", code=2))
        self.assertIn("no macro", self.synth(LIBRARY, "--module", "lawcat_fifo", "--sram", self.write("sram.csv", "a,b\n"), code=2))
        self.assertIn("need --beats", self.synth(LIBRARY, "--energy", code=2))

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_only_results_are_written_over(self):
        self.synth(LIBRARY, "--module", "lawcat_fifo")
        self.synth(LIBRARY, "--module", "lawcat_skid_buffer")
        (self.folder / "out/synth.json").unlink()
        (self.folder / "out").rename(self.folder / "own")
        done = subprocess.run([sys.executable, "-B", SOURCE / "scripts/synth", LIBRARY, "--module", "lawcat_fifo", "--out",
                               self.folder / "own"], text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, "holds no results" in done.stderr), (2, True), done.stderr)

    def test_a_missing_tool_is_named(self):
        self.assertIn("yosys is not installed", self.synth(LIBRARY, code=2, path=str(self.folder)))


class Liberty(unittest.TestCase):
    def test_functions_become_verilog(self):
        names = {pin: pin.lower() for pin in "ABCD"}
        for function, wanted in (("!A", "~a"), ("(A*B)'", "(~((a & b)))"), ("A B + C", "((a & b) | c)"), ("A^B&C", "((a ^ b) & c)"),
                                 ("!(A | !B)", "~((a | ~b))"), ("1", "1'b1"), ("A' * B'", "((~a) & (~b))")):
            self.assertEqual(verilog(function, names), wanted, function)

    def test_cells(self):
        text = """/* a comment */ library (small) { time_unit : "1ns";
          cell (INV) { area : 2; pin (A) { direction : input; capacitance : 0.5; }
            pin (Y) { direction : output; function : "A'"; timing () { values ("1, 2", \\
              "3, 4"); } } }
          cell (FF) { ff (IQ, IQN) { clocked_on : "CLK"; next_state : "!D"; } pin (CLK) { direction : input; clock : true; }
            pin (D) { direction : input; } pin (QN) { direction : output; function : "IQ"; } } }"""
        inverter, flop = (Cell(group) for group in read_groups(text).all("cell"))
        self.assertEqual((inverter.area, inverter.inputs, inverter.outputs, inverter.capacitance("A")), (2.0, ["A"], ["Y"], 0.5))
        self.assertTrue(inverter.is_function("!A"))
        self.assertFalse(inverter.is_function("A"))
        self.assertEqual((flop.clock, flop.rising), ("CLK", True))
        with self.assertRaises(Refusal):
            read_groups("library (x) { } }")


if __name__ == "__main__":
    unittest.main()
