# SPDX-License-Identifier: Apache-2.0
# scripts/synth on small modules with a library that Debian ships, and what it says of input it cannot use; its simulation of
# a netlist on one of a few cells.
import argparse
import importlib.machinery
import importlib.util
import json
import lzma
import os
import pathlib
import random
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
from synth_cells import Cell, Library, Netlist, Refusal, read_groups, verilog  # noqa: E402


class Synth(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def synth(self, *arguments, code=0, path=None):
        done = subprocess.run([sys.executable, "-B", SOURCE / "scripts/synth", "--out", self.folder / "out", *map(str, arguments)],
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

    @unittest.skipUnless(TOOLS, "needs yosys and opensta")
    def test_figures_of_a_library_that_are_none_are_found_before_the_work(self):
        for text, other in (("capacitance : 0.001", "capacitance : x"), ("1ns", "0ns"), ("nom_voltage : 1", "nom_voltage : -1"),
                            ("cell (BUF) {", "cell (BUF) { cell_leakage_power : x;")):
            library = self.write("figures.lib", CELLS.replace(text, other, 1))
            self.assertRegex(self.synth(library, "--module", "lawcat_fifo", code=2), f"{library}: (not a cell library|its units)")

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_wrong_names_and_tables_are_refused(self):
        self.assertIn("no module lawcat_flfo", self.synth(LIBRARY, "--module", "lawcat_flfo", code=2))
        self.assertIn("no preset large", self.synth(LIBRARY, "--preset", "large", code=2))
        self.assertIn("no macro", self.synth(LIBRARY, "--module", "lawcat_fifo", "--sram", self.write("sram.csv", "a,b\n"), code=2))
        self.assertIn("need --beats", self.synth(LIBRARY, "--energy", code=2))
        for row in ("22,itrs-lstp,1R1W,1,64,1,1,1", "22,itrs-lstp,1R1W,0,128,1,1,1", "22,itrs-lstp,1R1W,x,128,1,1,1", "22"):
            table = self.write("sram.csv", f"node_nm,device,ports,size_KiB,word_bits,read_pJ,write_pJ,area_mm2\n{row}\n")
            self.assertIn(f"{table}: no", self.synth(LIBRARY, "--module", "lawcat_fifo", "--sram", table, code=2))

    @unittest.skipUnless(TOOLS and LIBRARY.exists(), "needs yosys, opensta and qflow-tech-osu018")
    def test_wrong_arguments_are_refused_before_the_work(self):
        file = self.write("file", "x\n")
        for sentence, *arguments in (
                ("--sram-node: expected node and device, such as 22,itrs-lstp, got x", "--sram-node", "x"),
                ("--shape: expected two numbers", "--shape", "4"), ("--clock-ps is above 0", "--clock-ps", "nan"),
                ("--paths and --map-ps are above 0", "--map-ps", "-1"),
                (f"--work {file}: expected a folder that can be written", "--work", file),
                (f"--out {file}/x: expected a folder that can be written", "--out", file / "x"),
                ("--out /proc/x/y: expected a folder that can be written", "--out", "/proc/x/y"),
                (f"{file} is there and holds no results", "--out", file)):
            with self.subTest(arguments=arguments):
                self.assertIn(sentence, self.synth(LIBRARY, "--module", "lawcat_fifo", *arguments, code=2))
        none = self.folder / "none"
        self.assertIn(f"{none}: No such file", self.synth(LIBRARY, "--beats", none, "--expected", file, code=2))
        self.assertIn(f"{file}:1: a line is", self.synth(LIBRARY, "--beats", file, "--expected", file, code=2))

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


def load_synth():
    loader = importlib.machinery.SourceFileLoader("synth", str(SOURCE / "scripts/synth"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("synth", loader))
    loader.exec_module(module)
    return module


CELLS = """library (tiny) { time_unit : "1ns"; capacitive_load_unit (1, pf); nom_voltage : 1;
  cell (BUF) { pin (A) { direction : input; capacitance : 0.001; } pin (Y) { direction : output; function : "A"; } }
  cell (INV) { pin (A) { direction : input; capacitance : 0.001; } pin (Y) { direction : output; function : "!A"; } }
  cell (AND) { pin (A) { direction : input; capacitance : 0.001; } pin (B) { direction : input; capacitance : 0.001; }
    pin (Y) { direction : output; function : "A*B"; } }
  cell (DFF) { ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; } pin (CK) { direction : input; capacitance : 0.001; }
    pin (D) { direction : input; capacitance : 0.001; } pin (Q) { direction : output; function : "IQ"; } } }"""
INPUTS = {"clk_i": 1, "rst_ni": 1, "enable_i": 1, "head_dim_i": 8, "feature_dim_i": 7, "clear_all_i": 1, "clear_slot_i": 1,
          "clear_slot_index_i": 8, "s_axis_tvalid_i": 1, "s_axis_tdata_i": 16, "s_axis_tlast_i": 1, "m_axis_tready_i": 1}
OUTPUTS = {"s_axis_tready_o": 1, "m_axis_tvalid_o": 1, "m_axis_tdata_o": 16, "m_axis_tlast_o": 1, "head_done_o": 1}


def tiny_engine():
    """Yosys' JSON of an engine that answers a beat in the next cycle: the high byte inverted, in place of the low byte that
    of the beat before with the same `last`, from a memory. One gate does nothing but glitch."""
    def module_ports():
        ports, bit = {}, 2
        for direction, group in (("input", INPUTS), ("output", OUTPUTS)):
            for name, width in group.items():
                ports[name] = {"direction": direction, "bits": list(range(bit, bit := bit + width))}
        return ports

    ports, outside, cells = module_ports(), module_ports(), {}
    net = {name: port["bits"] for name, port in ports.items()}

    def cell(kind, **pins):
        cells[f"c{len(cells)}"] = {"type": kind, "connections": {pin: [value] for pin, value in pins.items()}}

    clock, [valid], [last], data = net["clk_i"][0], net["s_axis_tvalid_i"], net["s_axis_tlast_i"], net["s_axis_tdata_i"]
    cell("DFF", CK=clock, D=valid, Q=net["m_axis_tvalid_o"][0])
    cell("DFF", CK=clock, D=last, Q=net["m_axis_tlast_o"][0])
    cell("AND", A=valid, B=last, Y=net["head_done_o"][0])
    for i in range(8, 16):
        cell("INV", A=data[i], Y=100 + i)
        cell("DFF", CK=clock, D=100 + i, Q=net["m_axis_tdata_o"][i])
    cell("AND", A=data[15], B=115, Y=120)
    cell("DFF", CK=clock, D=120, Q=121)
    cells["u_memory"] = {"type": "lawcat_memory", "parameters": {"WIDTH": f"{8:032b}", "DEPTH": f"{2:032b}"}, "connections": {
        "clk_i": [clock], "we_i": [valid], "waddr_i": [last], "wdata_i": data[:8], "re_i": [valid], "raddr_i": [last],
        "rdata_o": net["m_axis_tdata_o"][:8]}}
    net["s_axis_tready_o"][0] = "1"
    return json.dumps({"modules": {"lawcat_tiny": {"ports": ports, "cells": cells}, "lawcat_engine": {"ports": outside, "cells": {
        "u_tiny": {"type": "lawcat_tiny", "connections": {name: port["bits"] for name, port in outside.items()}}}}}})


@unittest.skipUnless(shutil.which("c++"), "needs a C++ compiler")
class Simulated(unittest.TestCase):
    PACKETS = 40

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder, cls.synth = pathlib.Path(folder.name), load_synth()  # the simulator is compiled once

    def setUp(self):
        self.netlist = Netlist(Library(CELLS))
        self.netlist.add(tiny_engine(), "lawcat_engine")
        draw, memory, self.beats, self.expected = random.Random(1), [0, 0], [], []
        for _ in range(self.PACKETS):  # of one head-token
            self.beats += [(0, 0x0101), (0, draw.getrandbits(16)), (0, draw.getrandbits(16)), (1, draw.getrandbits(16))]
        for last, data in self.beats:
            self.expected.append((last, ~data & 0xff00 | memory[last]))
            memory[last] = data & 0xff

    def check(self, **more):
        for name, beats in (("in", self.beats), ("expected", self.expected)):
            (self.folder / name).write_text("shape 4 2\n" + "".join(f"{last} {data:04x}\n" for last, data in beats))
        options = {"icarus": False, "energy": False, "shape": None, "sram": None, "wire_ff": 0.25, **more}
        report = {}
        same = self.synth.check_netlist(self.netlist, argparse.Namespace(
            beats=self.folder / "in", expected=self.folder / "expected", **options), self.folder, report)
        self.assertEqual(same, report["netlist_check"]["same"])
        return report

    def test_answers_and_energy_of_a_netlist(self):
        report = self.check(energy=True)
        self.assertEqual(report["netlist_check"], {"shape": (4, 2), "beats_in": 160, "beats_out": 160, "same": True})
        spent = report["energy_per_head_token"]
        self.assertEqual((spent["head_tokens"], spent["cycles_watched"], spent["interval_cycles"]), (self.PACKETS, 160, 4))
        tiny = spent["stages"]["tiny"]
        self.assertEqual((tiny["memory_reads"], tiny["memory_writes"]), (4, 4))
        self.assertEqual(tiny["clock_pj"], round(11 * 1.25 * 4 / 1000, 3))  # flip-flops, fF at 1 V, cycles
        self.assertGreater(tiny["logic_pj"], 0)
        self.assertGreater(tiny["logic_with_glitches_pj"], tiny["logic_pj"])

    @unittest.skipUnless(shutil.which("iverilog"), "needs iverilog")
    def test_icarus_gives_the_same_answers(self):
        self.assertTrue(self.check(icarus=True)["netlist_check"]["same"])

    def test_another_answer_and_a_missing_one_are_noticed(self):
        last, data = self.expected[5]
        self.expected[5] = (last, data ^ 0x8000)
        self.assertEqual(self.check()["netlist_check"], {"shape": (4, 2), "beats_in": 160, "beats_out": 160, "same": False,
                                                         "first_difference": 5, "simulator": "own"})
        self.expected[5] = (last, data)
        self.expected.append((0, 0))
        self.assertEqual(self.check()["netlist_check"]["first_difference"], 160)

    def test_what_cannot_be_simulated_is_said(self):
        self.check()
        cut = self.folder / "cut.bin"
        cut.write_bytes((self.folder / "netlist.bin").read_bytes()[:200])
        done = subprocess.run([self.folder / "synth_simulate", cut, "beats.in", "beats.out", "activity.bin", "1"], cwd=self.folder,
                              text=True, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "the netlist is cut short\n"))
        design = json.loads(tiny_engine())
        gates = design["modules"]["lawcat_tiny"]["cells"]
        loop = next(cell for cell in gates.values() if cell["type"] == "INV")["connections"]
        loop["A"] = loop["Y"]
        self.netlist = Netlist(Library(CELLS))
        self.netlist.add(json.dumps(design), "lawcat_engine")
        with self.assertRaisesRegex(Refusal, "combinational loop"):
            self.check()

    def test_the_worst_period_of_a_part_goes_by_its_clean_name(self):
        (self.folder / "top.paths").write_text("")
        (self.folder / "top.ends").write_text("".join(f"{pin} 0.1 0.2 {slack} (MET)\n" for pin, slack in (
            ("u_a.b/u_c/D", 0.5), ("u_a.b/u_d/D", 0.3), ("u_a.b/u_e/D", 0.4), ("q_reg/D", 0.2))))
        timed = self.synth.read_timing(self.folder, "top", Library(CELLS), argparse.Namespace(clock_ps=1000))
        self.assertEqual(timed["worst_period_ps"], {"top": 800.0, "u_a_b": 700.0})


if __name__ == "__main__":
    unittest.main()
