# SPDX-License-Identifier: Apache-2.0
# The tile in Icarus Verilog, four-state: registers and memories start as X, the answers are those of the definition
# all the same. And what RTL is not built for is refused in a sentence.
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SIM, EMIT, VECTORS = (os.environ.get(name) for name in ("LAWCAT_SIM", "LAWCAT_ARCH_EMIT", "LAWCAT_RTL_VECTORS"))
# Seeds that the long run plays on every preset (ctest -C Long -R rtl.icarus.Long).
LONG = int(os.environ.get("LAWCAT_LONG", "0"))


def run(*command, **more):
    return subprocess.run(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **more)


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_well(self, *command, code=0):
        done = run(*command, cwd=self.folder)
        self.assertEqual(done.returncode, code, f"{command}\n{done.stdout}")
        return done.stdout

    def refused(self, program, sentence, *command):
        text = self.run_well(*command, code=2)
        self.assertEqual(text.count("\n"), 1, text)
        self.assertTrue(text.startswith(program + ": "), text)
        self.assertIn(sentence, text)


class Tile(Folder):
    def setUp(self):
        super().setUp()
        if not shutil.which("iverilog"):
            self.skipTest("iverilog is not installed (Debian: iverilog)")

    def compile(self, preset, change=None):
        """The tile of a preset in the testbench; `change`: (file, text, replacement) of a fault in it."""
        self.run_well(EMIT, "--preset", preset, "--out", self.folder)
        files = []
        for line in (SOURCE / "rtl/sources.f").read_text().splitlines():
            if line.startswith(("cells/", "core/")):
                files.append(SOURCE / "rtl" / line)
                if change and change[0] == line:
                    text = files[-1].read_text()
                    self.assertEqual(text.count(change[1]), 1, change)
                    files[-1] = self.folder / files[-1].name
                    files[-1].write_text(text.replace(*change[1:]))
        warnings = self.run_well("iverilog", "-g2012", "-Wimplicit", "-I", SOURCE / "rtl/cells", "-s",
                                 "lawcat_icarus_tb", "-o", "tb.vvp", "lawcat_arch_pkg.sv", *files,
                                 *sorted((SOURCE / "rtl/bench").glob("*.sv")))
        self.assertEqual(warnings, "", "a name that Icarus took for a new wire")

    def vectors(self, preset, *options):
        self.run_well(VECTORS, "--preset", preset, *options, "--out", self.folder)

    def play(self, **options):
        done = run("vvp", "-n", "tb.vvp", "+in=in.beats", "+expected=expected.beats",
                   *(f"+{name}={value}" for name, value in options.items()), cwd=self.folder)
        return done.stdout

    def passes(self, **options):
        text = self.play(**options)
        self.assertTrue(text.splitlines()[-1].startswith("PASS "), f"{options}\n{text}")
        self.assertNotIn("ERROR", text)
        return text


class Nano(Tile):
    def test_random_vectors_with_stalls_and_resets_in_mid_stream(self):
        self.compile("nano")
        # A shape that fills no word: 24 columns in segments of 16.
        self.vectors("nano", "--random", "spiky", "--shape", "2,1,24,12", "--tokens", "4")
        beats = len((self.folder / "in.beats").read_text().splitlines())
        text = self.passes(seed=3, in_stall=20, out_stall=30, reset_at=beats * 6 // 10, soft_reset_at=beats // 2)
        self.assertIn("2 resets", text)

    def test_vectors_of_the_trained_model(self):
        trace = {"schema": "lawcat-trace/1", "name": "short", "model": "passkey-tiny", "preset": "nano",
                 "task": {"text": "the grass is green ."}, "phases": {"decode_tokens": 0}}
        (self.folder / "short.json").write_text(json.dumps(trace))
        self.run_well(SIM, "--trace", "short.json", "--backend", "fixed", "--record-vectors", "2=layer2.safetensors")
        self.compile("nano")
        self.vectors("nano", "--vectors", "layer2.safetensors", "--groups", "1", "--tokens", "3")
        self.passes()


class Noticed(Tile):
    """The testbench and the checkers see what two-state simulation and equal answers would hide."""

    def setUp(self):
        super().setUp()
        self.vectors("nano", "--random", "plain", "--shape", "1,1,16,8", "--tokens", "2")

    def test_an_x_that_reaches_an_output_and_a_breach_of_a_protocol(self):
        kept = "      done_irq_q       <= 1'b0;\n"
        for change, said in (
                (("core/lawcat_control.sv", "      error_tag_q      <= '0;\n" + kept, kept),
                 r"ERROR: .*u_registers.*: payload of channel 4 \(aw w b ar r\) is unknown"),
                (("core/lawcat_control.sv", "      irq_o            <= 1'b0;\n", ""), "FAIL X on the interrupt"),
                (("core/lawcat_pack.sv", "end_error, 31'd0,", "end_error, 31'dx,"),
                 "ERROR: .*u_out: data or last is unknown in a valid beat"),
                (("cells/lawcat_skid_buffer.sv", "if (moves) data_q", "data_q"),
                 "ERROR: .*u_out: data or last changed before ready came"),
                (("cells/lawcat_skid_buffer.sv", "if (moves) valid_q", "valid_q"),
                 "ERROR: .*u_out: valid fell before ready came")):
            with self.subTest(said=said):
                self.compile("nano", change)
                self.assertRegex(self.play(out_stall=50), said)

    def test_another_answer(self):
        self.compile("nano")
        file = self.folder / "expected.beats"
        lines = file.read_text().splitlines()
        lines[5] = lines[5][:-1] + ("0" if lines[5][-1] != "0" else "1")
        file.write_text("\n".join(lines) + "\n")
        self.assertIn("FAIL another answer", self.play())
        file.write_text("\n".join(lines[:1]) + "\n")
        self.assertIn("FAIL an answer too many", self.play())


class Refused(Folder):
    """`lawcat-sim` and `lawcat-arch-emit` on what RTL has not: exit 2, one sentence."""

    def test_a_preset_that_was_not_built_or_was_changed(self):
        unit = (SIM, "unit", "--random", "plain", "--tokens", "2", "--against", "fixed", "--backend", "rtl")
        self.refused("lawcat-sim", "unchanged", *unit, "--preset", "nano", "--set", "datapath.guard_bits=7")
        preset = json.loads((SOURCE / "hostlib/arch/presets/nano.json").read_text())
        preset["name"] = "pico"
        preset["engine"]["state_lanes"] = 8
        (self.folder / "pico.json").write_text(json.dumps(preset))
        self.refused("lawcat-sim", "preset pico: expected a preset that this build Verilated", *unit, "--preset",
                     "pico.json")

    def test_a_head_that_the_tile_has_no_room_for(self):
        self.refused("lawcat-sim", "head_dim", SIM, "unit", "--random", "plain", "--shape", "2,1,128,32", "--tokens",
                     "2", "--against", "fixed", "--backend", "rtl", "--preset", "nano")

    def test_formats_that_rtl_has_not(self):
        for change, sentence in (("datapath.state=e5m10", "state"), ("datapath.state=s24.16", "state"),
                                 ("datapath.normaliser=s24.16", "normaliser"),
                                 ("datapath.state_rounding=error_feedback", "state_rounding"),
                                 ("engine.state_lanes=24", "lanes"), ("memory.bus_bytes_per_cycle=8", "16 bytes"),
                                 ("engine.stage_fifo_tokens=0", "stage_fifo_tokens")):
            with self.subTest(change=change):
                self.refused("lawcat-arch-emit", sentence, EMIT, "--preset", "nano", "--set", change, "--out",
                             self.folder)
                self.assertFalse(list(self.folder.glob("*.sv")))
                self.assertFalse(list(self.folder.glob("*.hex")))

    def test_vectors_that_do_not_fit(self):
        for option, value, sentence in (("--shape", "1,1,65,32", "at most 64"), ("--shape", "4096,1,8,4", "slots"),
                                        ("--shape", "1,1,8", "H,HKV,D,F"), ("--tokens", "0", "a number from 1 on")):
            with self.subTest(option=option, value=value):
                self.refused("lawcat-rtl-vectors", sentence, VECTORS, "--preset", "nano", "--random", "plain", option,
                             value, "--out", self.folder)
        self.assertFalse(list(self.folder.iterdir()))


@unittest.skipUnless(LONG, "LAWCAT_LONG is not set")
class Long(Tile):
    def test_seeds_on_every_preset(self):
        draw = random.Random(LONG)
        for preset, shapes in (("nano", ("2,1,64,32", "3,1,40,20", "1,1,1,1")),
                               ("edge", ("2,1,128,64", "2,2,64,32")), ("precise", ("2,1,64,32",)),
                               ("edge-max", ("2,1,128,64",))):
            self.compile(preset)
            for seed in range(1, LONG + 1):
                for shape in shapes:
                    with self.subTest(preset=preset, shape=shape, seed=seed):
                        self.vectors(preset, "--random", draw.choice(("plain", "long", "spiky")), "--shape", shape,
                                     "--tokens", "6", "--seed", seed)
                        last = len((self.folder / "in.beats").read_text().splitlines()) - 1
                        text = self.passes(seed=seed, in_stall=draw.choice((0, 10, 60)),
                                           out_stall=draw.choice((0, 10, 60)), reset_at=draw.randrange(1, last),
                                           soft_reset_at=draw.randrange(1, last))
                        print(preset, shape, seed, text.strip(), flush=True)


if __name__ == "__main__":
    unittest.main()
