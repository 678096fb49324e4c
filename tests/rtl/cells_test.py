# SPDX-License-Identifier: Apache-2.0
# The cells of rtl/cells: every tool reads them, parameters that make no sense are refused by a sentence, and what
# they compute is what hostlib/numerics defines (restated here in Python's integers).
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CELLS = SOURCE / "rtl/cells"
NAMES = sorted(file.stem for file in CELLS.glob("*.sv"))
MASK32 = (1 << 32) - 1
TRUNCATE, NEAREST_EVEN, STOCHASTIC, HALF_UP = range(4)
# What a cell may ask of the generated package: constants of numerics, the same for every preset.
PACKAGE = "package lawcat_arch_pkg; localparam int TABLE_FRACTION = 24; endpackage\n"

# Parameters that reach every branch of a cell, beside its defaults.
SHAPES = {
    "lawcat_adder_tree": [{"COUNT": 1}, {"COUNT": 2, "WIDTH": 1}, {"COUNT": 11, "WIDTH": 7}],
    "lawcat_align": [{"MAX_LEFT": 0}, {"IN_WIDTH": 8, "OUT_WIDTH": 40, "SHIFT_WIDTH": 5, "MAX_LEFT": 3},
                     {"IN_WIDTH": 36, "OUT_WIDTH": 12, "SHIFT_WIDTH": 6, "MAX_LEFT": 8}],
    "lawcat_fifo": [{"DEPTH": 1}, {"DEPTH": 2}, {"DEPTH": 3}, {"DEPTH": 5, "WIDTH": 1}],
    "lawcat_lead_bits": [{"WIDTH": 1}, {"WIDTH": 2}, {"WIDTH": 31}, {"WIDTH": 32}, {"WIDTH": 63}],
    "lawcat_magnitude_bits": [{"WIDTH": 2}, {"WIDTH": 40}],
    "lawcat_memory": [{"DEPTH": 1}, {"DEPTH": 5, "WIDTH": 1}],
    "lawcat_multiplier": [{"STAGES": 2}, {"STAGES": 2, "A_WIDTH": 12, "B_WIDTH": 27},
                          {"STAGES": 2, "A_WIDTH": 1, "B_WIDTH": 2}, {"A_WIDTH": 3, "B_WIDTH": 1}],
    "lawcat_reciprocal": [{"IN_WIDTH": 2, "P": 2, "TABLE_BITS": 1}, {"IN_WIDTH": 30, "P": 14, "TABLE_BITS": 10},
                          {"IN_WIDTH": 63, "P": 24, "SELECT": 1}],
    "lawcat_round": [{"MODE": mode, "IN_WIDTH": width, "SHIFT": shift} for mode in range(4)
                     for width, shift in ((10, 0), (10, 1), (40, 30), (8, 7), (48, 16))],
    "lawcat_saturate": [{"OUT_WIDTH": 24}, {"OUT_WIDTH": 30}, {"OUT_WIDTH": 23}, {"OUT_WIDTH": 2}],
    "lawcat_skid_buffer": [{"WIDTH": 1}],
    "lawcat_stage_control": [{"WIDTH": 1}],
    "lawcat_table": [{"REST_BITS": 0}, {"INDEX_WIDTH": 1, "SELECT": 3, "VALUE_WIDTH": 32, "DELTA_WIDTH": 32, "REST_BITS": 1},
                     {"INDEX_WIDTH": 3, "SELECT": 1, "VALUE_WIDTH": 7, "DELTA_WIDTH": 8, "REST_BITS": 23}],
    "lawcat_token_buffer": [{"SLOTS": 1, "WORDS": 1}, {"SLOTS": 2}, {"SLOTS": 3, "WORDS": 5, "SIDE_WIDTH": 34}],
    "lawcat_unsigned_float": [{"IN_WIDTH": width, "MIN_LEAD": lead, "FLUSH": flush}
                              for width in (2, 8, 13, 24, 40) for lead in {1, width - 1, width} for flush in (0, 1)],
}

REFUSED = [
    ("lawcat_adder_tree", {"WIDTH": 0}, "COUNT and WIDTH are at least 1"),
    ("lawcat_align", {"SHIFT_WIDTH": 5}, "SHIFT_WIDTH holds IN_WIDTH + MAX_LEFT"),
    ("lawcat_align", {"MAX_LEFT": -1}, "MAX_LEFT at least 0"),
    ("lawcat_fifo", {"DEPTH": 0}, "DEPTH is at least 1"),
    ("lawcat_fifo", {"WIDTH": 0}, "WIDTH is at least 1"),
    ("lawcat_lead_bits", {"WIDTH": 0}, "WIDTH is at least 1"),
    ("lawcat_magnitude_bits", {"WIDTH": 1}, "WIDTH is at least 2"),
    ("lawcat_memory", {"DEPTH": 0}, "WIDTH and DEPTH are at least 1"),
    ("lawcat_multiplier", {"A_WIDTH": 0}, "A_WIDTH and B_WIDTH are at least 1"),
    ("lawcat_multiplier", {"STAGES": 3}, "STAGES is 1 or 2"),
    ("lawcat_multiplier", {"STAGES": 0}, "STAGES is 1 or 2"),
    ("lawcat_multiplier", {"STAGES": 2, "B_WIDTH": 1}, "B_WIDTH is at least 2"),
    ("lawcat_reciprocal", {"IN_WIDTH": 64}, "IN_WIDTH is 2 to 63"),
    ("lawcat_reciprocal", {"P": 25}, "P is 2 to 24"),
    ("lawcat_reciprocal", {"TABLE_BITS": 11}, "TABLE_BITS is 1 to 10"),
    ("lawcat_round", {"SHIFT": 32}, "SHIFT is in 0..IN_WIDTH - 1"),
    ("lawcat_round", {"MODE": 4}, "MODE is 0, 1, 2 or 3"),
    ("lawcat_round", {"MODE": 2, "IN_WIDTH": 48, "SHIFT": 33}, "drops at most 32 bits"),
    ("lawcat_saturate", {"IN_WIDTH": 0}, "IN_WIDTH is at least 1"),
    ("lawcat_saturate", {"OUT_WIDTH": 1}, "OUT_WIDTH is at least 2"),
    ("lawcat_skid_buffer", {"WIDTH": 0}, "WIDTH is at least 1"),
    ("lawcat_stage_control", {"WIDTH": 0}, "WIDTH is at least 1"),
    ("lawcat_table", {"INDEX_WIDTH": 11}, "the load port addresses every entry"),
    ("lawcat_table", {"VALUE_WIDTH": 33}, "entries and deltas have at most 32 bits"),
    ("lawcat_token_buffer", {"SLOTS": 0}, "SLOTS and WORDS are at least 1"),
    ("lawcat_token_buffer", {"SIDE_WIDTH": 0}, "WIDTH and SIDE_WIDTH are at least 1"),
    ("lawcat_unsigned_float", {"P": 1}, "IN_WIDTH and P are at least 2"),
    ("lawcat_unsigned_float", {"MIN_LEAD": 2}, "MIN_LEAD is 1, IN_WIDTH - 1 or IN_WIDTH"),
]


def sources(cell):
    """The cell's file after those of the cells in it, and the package if it asks for it."""
    text = (CELLS / f"{cell}.sv").read_text()
    files = ["lawcat_arch_pkg.sv"] if "lawcat_arch_pkg::" in text else []
    for name in re.findall(r"^\s*(lawcat_\w+) (?:#\(|u_)", text, re.MULTILINE):
        files += sources(name)
    return [*dict.fromkeys(files), str(CELLS / f"{cell}.sv")]


def default(cell, name):
    return int(re.search(rf"parameter int {name} *= (-?\d+)", (CELLS / f"{cell}.sv").read_text())[1])


def floor_shift(x, n):
    return x >> n if n >= 0 else x << -n


def round_shift(x, n, mode, bits=0):
    if mode == TRUNCATE or n == 0:
        return x >> n
    added = {NEAREST_EVEN: (1 << (n - 1)) - 1 + ((x >> n) & 1), STOCHASTIC: bits, HALF_UP: 1 << (n - 1)}[mode]
    return (x + added) >> n


def shift_half_up(x, n):
    return x << -n if n <= 0 else (x + (1 << (n - 1))) >> n


def unsigned_float(x, exponent, p, least):
    lead = x.bit_length()
    mantissa, exponent = shift_half_up(x, lead - p), exponent + lead
    if mantissa >> p:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return (mantissa, exponent) if x and exponent - 1 >= least else (0, 0)


def interpolate(entries, i, rest, bits):
    return entries[i] + shift_half_up((entries[i + 1] - entries[i]) * rest, bits)


def reciprocals(bits):
    return [((1 << 25 + bits) // ((1 << bits) + i) + 1) >> 1 for i in range((1 << bits) + 1)]


def mix32(h):
    h = (h ^ h >> 16) * 0x85ebca6b & MASK32
    h = (h ^ h >> 13) * 0xc2b2ae35 & MASK32
    return h ^ h >> 16


def signed(x, width):
    return x - (1 << width) if x >> (width - 1) else x


def draws(rng, width, count):
    """Signed numbers of `width` bits: the corners, then any size with the same frequency."""
    corners = {0, -1, -(1 << (width - 1)), (1 << (width - 1)) - 1, min(1, (1 << (width - 1)) - 1)}
    return sorted(corners) + [signed(rng.getrandbits(width), width) >> rng.randrange(width) for _ in range(count)]


class Tools(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "lawcat_arch_pkg.sv").write_text(PACKAGE)

    def need(self, *tools):
        for tool in tools:
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not installed")

    def run_tool(self, *command):
        done = subprocess.run(list(map(str, command)), cwd=self.folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=120, check=False)
        return done.returncode, done.stdout

    def verilator(self, cell, parameters):
        return self.run_tool("verilator", "--lint-only", "-Wall", f"-I{CELLS}", *sources(cell), "--top-module", cell,
                             *(f"-G{name}={value}" for name, value in parameters.items()))

    def icarus(self, cell, parameters):
        code, text = self.run_tool("iverilog", "-g2012", "-Wall", "-Wno-timescale", f"-I{CELLS}", "-s", cell, "-o",
                                   "cell.vvp", *(f"-P{cell}.{name}={value}" for name, value in parameters.items()),
                                   *sources(cell))
        if code == 0:
            code, more = self.run_tool("vvp", "-N", "cell.vvp")
            text += more
        return code, text

    def yosys(self, cell, shapes):
        """All shapes in one process: they are read once."""
        script = [f"read_verilog -sv -I{CELLS} {' '.join(sources(cell))}", "design -save read"]
        for shape in shapes:
            settings = " ".join(f"-chparam {name} {value}" for name, value in shape.items())
            script += ["design -load read", f"hierarchy -check -top {cell} {settings}", "proc", "check -assert",
                       "select -assert-none t:$dlatch"]
        return self.run_tool("yosys", "-q", "-p", "; ".join(script))


class Elaboration(Tools):
    def check_all(self, run):
        for cell in NAMES:
            for shape in [{}, *SHAPES.get(cell, [])]:
                with self.subTest(cell=cell, shape=shape):
                    self.assertEqual(run(cell, shape), (0, ""))

    def test_verilator_accepts_every_cell_without_a_warning(self):
        self.need("verilator")
        self.check_all(self.verilator)

    def test_icarus_accepts_every_cell_without_a_warning(self):
        self.need("iverilog", "vvp")
        self.check_all(self.icarus)

    def test_yosys_accepts_every_cell_and_finds_no_latch_and_no_loop(self):
        self.need("yosys")
        for cell in NAMES:
            with self.subTest(cell=cell):
                self.assertEqual(self.yosys(cell, [{}, *SHAPES.get(cell, [])]), (0, ""))

    def test_every_cell_has_shapes_and_every_requirement_a_case(self):
        self.assertEqual(set(NAMES) - set(SHAPES), {"lawcat_mix"})  # it has no parameters
        for cell in NAMES:
            for sentence in re.findall(r'`LAWCAT_REQUIRE\([^"]*"(\w+: [^"]*)"', (CELLS / f"{cell}.sv").read_text()):
                self.assertTrue(any(one == cell and part in sentence for one, _, part in REFUSED), sentence)

    def test_impossible_parameters_are_refused_by_a_sentence(self):
        self.need("verilator")
        for cell, parameters, sentence in REFUSED:
            with self.subTest(cell=cell, parameters=parameters):
                code, text = self.verilator(cell, parameters)
                self.assertNotEqual(code, 0)
                self.assertRegex(text, rf"lawcat_\w+: .*{re.escape(sentence)}")

    def test_icarus_refuses_impossible_parameters_too(self):
        self.need("iverilog", "vvp")
        for cell, parameters, _ in REFUSED:
            with self.subTest(cell=cell, parameters=parameters):
                self.assertNotEqual(self.icarus(cell, parameters)[0], 0)


class Simulated(Tools):
    """Icarus drives many shapes of one cell side by side: a row of inputs per cycle, outputs read before the edge."""

    def setUp(self):
        super().setUp()
        self.need("iverilog", "vvp")
        self.rng = random.Random(1)

    def simulate(self, cell, inputs, outputs, cases, clocked=True, reset=False):
        """Each case: (parameters, widths of the ports, rows of input values); returns its rows of output values,
        signed where `outputs` says so, None where the simulator has an X."""
        cycles = max(len(rows) for _, _, rows in cases)
        body = []
        for i, (parameters, widths, rows) in enumerate(cases):
            total = sum(widths[port] for port in inputs)
            words = []
            for row in rows:
                word = 0
                for port in inputs:
                    word = word << widths[port] | row[port] & (1 << widths[port]) - 1
                words.append(f"{word:x}\n")
            (self.folder / f"in{i}.hex").write_text("".join(words))
            settings = ", ".join(f".{name}({value})" for name, value in parameters.items())
            ports = [f".{port}(i{i}_{port})" for port in inputs] + [f".{port}(o{i}_{port})" for port in outputs]
            ports += [".clk_i(clk)"] * clocked + [".rst_ni(rst_n)"] * reset
            body += [f"reg [{total - 1}:0] in{i} [0:{len(rows) - 1}]; initial $readmemh(\"in{i}.hex\", in{i});"]
            body += [f"wire [{widths[port] - 1}:0] i{i}_{port};" for port in inputs]
            body += [f"wire [{widths[port] - 1}:0] o{i}_{port};" for port in outputs]
            body += [f"assign {{{', '.join(f'i{i}_{port}' for port in inputs)}}} = in{i}[t];",
                     f"{cell} {f'#({settings})' if settings else ''} u{i} ({', '.join(ports)});"]
        writes = [f'if (t < {len(rows)}) $fwrite(file, "{i} {" ".join(["%b"] * len(outputs))}\\n", '
                  f'{", ".join(f"o{i}_{port}" for port in outputs)});' for i, (_, _, rows) in enumerate(cases)]
        bench = ["module bench;", "reg clk, rst_n; integer t, file;", *body,
                 'initial begin clk = 0; rst_n = 0; t = 0; file = $fopen("out.txt", "w"); #1 clk = 1; #1 clk = 0;',
                 f"rst_n = 1; for (t = 0; t < {cycles}; t = t + 1) begin #1;", *writes, "clk = 1; #1 clk = 0; end",
                 "$fclose(file); $finish; end endmodule", ""]
        (self.folder / "bench.sv").write_text("\n".join(bench))
        self.assertEqual(self.run_tool("iverilog", "-g2012", f"-I{CELLS}", "-s", "bench", "-o", "bench.vvp",
                                       "bench.sv", *sources(cell)), (0, ""))
        self.assertEqual(self.run_tool("vvp", "-N", "bench.vvp")[1].replace("\n", ""), "")
        results = [[] for _ in cases]
        for line in (self.folder / "out.txt").read_text().splitlines():
            i, *fields = line.split()
            widths = cases[int(i)][1]
            results[int(i)].append({
                port: None if "x" in field else
                signed(int(field, 2), widths[port]) if is_signed else int(field, 2)
                for (port, is_signed), field in zip(outputs.items(), fields)})
        return results

    def shapes(self, cell, *names):
        """The values of the named parameters over defaults and SHAPES."""
        base = {name: default(cell, name) for name in names}
        return [{**base, **shape} for shape in [{}, *SHAPES[cell]]]


class Arithmetic(Simulated):
    def check_function(self, cell, inputs, outputs, cases, model, latency=lambda parameters: 0, clocked=True):
        """`model(parameters, row)` gives the outputs for a row of inputs, `latency` cycles later."""
        results = self.simulate(cell, inputs, outputs, cases, clocked)
        for (parameters, _, rows), got in zip(cases, results):
            with self.subTest(parameters=parameters):
                self.assertEqual(len(got), len(rows))
                delay = latency(parameters)
                for t in range(len(rows) - delay):
                    expected = model(parameters, rows[t])
                    if None not in expected.values():  # else nobody knows
                        self.assertEqual(got[t + delay], expected, rows[t])

    def test_round_is_the_rounding_of_numerics_in_every_mode(self):
        cases = []
        for p in self.shapes("lawcat_round", "IN_WIDTH", "SHIFT", "MODE"):
            n = p["SHIFT"]
            values = draws(self.rng, p["IN_WIDTH"], 400)
            if n:  # ties and their neighbours
                values += [signed((self.rng.getrandbits(p["IN_WIDTH"]) >> n << n | 1 << (n - 1)) + d &
                                  (1 << p["IN_WIDTH"]) - 1, p["IN_WIDTH"]) for d in (-1, 0, 0, 0, 0, 1)]
            full = (1 << n) - 1
            rows = [{"data_i": x, "random_i": self.rng.choice((0, full, self.rng.getrandbits(max(n, 1)) & full))}
                    for x in values]
            widths = {"data_i": p["IN_WIDTH"], "random_i": max(n, 1), "data_o": p["IN_WIDTH"] - n + 1}
            cases.append((p, widths, rows))
        self.check_function("lawcat_round", ["data_i", "random_i"], {"data_o": True}, cases, lambda p, row: {
            "data_o": round_shift(row["data_i"], p["SHIFT"], p["MODE"], row["random_i"])}, clocked=False)

    def test_saturate_cuts_to_the_range_and_says_so(self):
        def model(p, row):
            limit = 1 << (p["OUT_WIDTH"] - 1)
            value = min(max(row["data_i"], -limit), limit - 1)
            return {"data_o": value, "clipped_o": value != row["data_i"]}

        cases = []
        for p in self.shapes("lawcat_saturate", "IN_WIDTH", "OUT_WIDTH"):
            limit = 1 << (min(p["IN_WIDTH"], p["OUT_WIDTH"]) - 1)
            values = draws(self.rng, p["IN_WIDTH"], 400) + [-limit, limit - 1]
            if p["IN_WIDTH"] > p["OUT_WIDTH"]:
                values += [-limit - 1, limit]
            cases.append((p, {"data_i": p["IN_WIDTH"], "data_o": p["OUT_WIDTH"], "clipped_o": 1},
                          [{"data_i": x} for x in values]))
        self.check_function("lawcat_saturate", ["data_i"], {"data_o": True, "clipped_o": False}, cases, model,
                            clocked=False)

    def test_align_is_shift_half_up_with_the_rounding_bit_apart(self):
        def model(p, row):
            n = row["right_i"] - p["MAX_LEFT"]
            twice = floor_shift(row["data_i"], n - 1)
            self.assertEqual((twice >> 1) + (twice & 1), shift_half_up(row["data_i"], n))
            if n >= p["IN_WIDTH"]:
                self.assertEqual((twice >> 1) + (twice & 1), 0)
            return {"whole_o": twice >> 1, "half_o": twice & 1}

        cases = []
        for p in self.shapes("lawcat_align", "IN_WIDTH", "OUT_WIDTH", "SHIFT_WIDTH", "MAX_LEFT"):
            rows = []
            for x in draws(self.rng, p["IN_WIDTH"], 1000):
                n = self.rng.randrange(1 << p["SHIFT_WIDTH"])
                whole = floor_shift(x, n - p["MAX_LEFT"])
                if -(1 << (p["OUT_WIDTH"] - 1)) <= whole < 1 << (p["OUT_WIDTH"] - 1):
                    rows.append({"data_i": x, "right_i": n})
            self.assertGreater(len(rows), 500)
            widths = {"data_i": p["IN_WIDTH"], "right_i": p["SHIFT_WIDTH"], "whole_o": p["OUT_WIDTH"], "half_o": 1}
            cases.append((p, widths, rows))
        self.check_function("lawcat_align", ["data_i", "right_i"], {"whole_o": True, "half_o": False}, cases, model,
                            clocked=False)

    def test_multiplier_is_exact_after_its_stages(self):
        cases = []
        for p in self.shapes("lawcat_multiplier", "A_WIDTH", "B_WIDTH", "STAGES"):
            a, b = (draws(self.rng, p[name], 400) for name in ("A_WIDTH", "B_WIDTH"))
            corners = [(x, y) for x in a[:5] for y in b[:5]]
            rows = [{"a_i": x, "b_i": y} for x, y in corners + list(zip(a, b))]
            widths = {"a_i": p["A_WIDTH"], "b_i": p["B_WIDTH"], "product_o": p["A_WIDTH"] + p["B_WIDTH"]}
            cases.append((p, widths, rows))
        self.check_function("lawcat_multiplier", ["a_i", "b_i"], {"product_o": True}, cases,
                            lambda p, row: {"product_o": row["a_i"] * row["b_i"]}, lambda p: p["STAGES"])

    def test_adder_tree_is_exact_for_any_count(self):
        cases = []
        for p in self.shapes("lawcat_adder_tree", "COUNT", "WIDTH"):
            columns = [draws(self.rng, p["WIDTH"], 100) for _ in range(p["COUNT"])]
            rows = []
            for values in zip(*columns):
                word = sum((x & (1 << p["WIDTH"]) - 1) << i * p["WIDTH"] for i, x in enumerate(values))
                rows.append({"data_i": word, "model": sum(values)})
            levels = (p["COUNT"] - 1).bit_length()
            cases.append((p, {"data_i": p["COUNT"] * p["WIDTH"], "sum_o": p["WIDTH"] + levels}, rows))
        self.check_function("lawcat_adder_tree", ["data_i"], {"sum_o": True}, cases,
                            lambda p, row: {"sum_o": row["model"]}, lambda p: (p["COUNT"] - 1).bit_length())

    def test_lead_bits_is_bit_width(self):
        cases = []
        for p in self.shapes("lawcat_lead_bits", "WIDTH"):
            width = p["WIDTH"]
            values = [0, (1 << width) - 1] + [1 << i for i in range(width)]
            values += [self.rng.getrandbits(width) >> self.rng.randrange(width) for _ in range(400)]
            cases.append((p, {"data_i": width, "lead_o": width.bit_length()}, [{"data_i": x} for x in values]))
        self.check_function("lawcat_lead_bits", ["data_i"], {"lead_o": False}, cases,
                            lambda p, row: {"lead_o": row["data_i"].bit_length()}, clocked=False)

    def test_magnitude_bits_is_that_of_numerics(self):
        cases = [(p, {"data_i": p["WIDTH"], "bits_o": p["WIDTH"] - 1},
                  [{"data_i": x} for x in draws(self.rng, p["WIDTH"], 400)])
                 for p in self.shapes("lawcat_magnitude_bits", "WIDTH")]
        self.check_function("lawcat_magnitude_bits", ["data_i"], {"bits_o": False}, cases, lambda p, row: {
            "bits_o": row["data_i"] if row["data_i"] >= 0 else ~row["data_i"] | 1}, clocked=False)

    def load(self, p, words):
        """Rows that write a table entry by entry, what else is on the port beside them."""
        port = {"table_we_i": 1, "table_select_i": p["SELECT"]}
        rows = [{**port, "table_index_i": i, "table_data_i": word} for i, word in enumerate(words)]
        for select, write in ((p["SELECT"], 0), (p["SELECT"] + 1 & 3, 1)):
            rows.append({"table_we_i": write, "table_select_i": select, "table_index_i": 0,
                         "table_data_i": self.rng.getrandbits(64)})
        return rows

    def test_table_is_linear_between_the_entries_that_were_loaded(self):
        cases = []
        for p in self.shapes("lawcat_table", "INDEX_WIDTH", "SELECT", "VALUE_WIDTH", "DELTA_WIDTH", "REST_BITS",
                             "TABLE_INDEX_WIDTH"):
            size, most, step = 1 << p["INDEX_WIDTH"], (1 << p["VALUE_WIDTH"]) - 1, 1 << (p["DELTA_WIDTH"] - 1)
            entries = [self.rng.choice((0, most, self.rng.randrange(most)))]
            for _ in range(size):
                low, high = max(0, entries[-1] - step), min(most, entries[-1] + step - 1)
                entries.append(self.rng.choice((low, high, self.rng.randint(low, high))))
            rows = self.load(p, [((b - a) & MASK32) << 32 | a for a, b in zip(entries, entries[1:])])
            rows += [{**rows[-1], "table_data_i": self.rng.getrandbits(64)} for _ in range(500)]
            for t, row in enumerate(rows):  # an entry can be read two cycles after it was written
                row["index_i"] = self.rng.randrange(max(1, min(t - 1, size)))
                row["rest_i"] = self.rng.choice((0, (1 << p["REST_BITS"]) - 1, self.rng.getrandbits(p["REST_BITS"] or 1)))
                row["model"] = None if t < 2 else entries[row["index_i"]] if not p["REST_BITS"] else interpolate(
                    entries, row["index_i"], row["rest_i"], p["REST_BITS"])
            widths = {"table_we_i": 1, "table_select_i": 2, "table_index_i": p["TABLE_INDEX_WIDTH"], "table_data_i": 64,
                      "index_i": p["INDEX_WIDTH"], "rest_i": p["REST_BITS"] or 1, "value_o": p["VALUE_WIDTH"]}
            cases.append((p, widths, rows))
        inputs = ["table_we_i", "table_select_i", "table_index_i", "table_data_i", "index_i", "rest_i"]
        self.check_function("lawcat_table", inputs, {"value_o": False}, cases,
                            lambda p, row: {"value_o": row["model"]}, lambda p: 5)

    def test_unsigned_float_is_that_of_numerics_for_all_it_may_be_given(self):
        cases = []
        for p in self.shapes("lawcat_unsigned_float", "IN_WIDTH", "MIN_LEAD", "P", "EXPONENT_WIDTH", "FLUSH", "MIN_EXPONENT"):
            width, half = p["IN_WIDTH"], 1 << (p["IN_WIDTH"] - 1)
            values = [half, half - 1, half // 2] + [self.rng.getrandbits(width) >> self.rng.randrange(width)
                                                    for _ in range(400)]
            if p["MIN_LEAD"] == width:
                values = [half // 2 + x % (half // 2 + 1) for x in values]
            else:
                values += [0, 2 * half - 1]
                values = [x if x.bit_length() >= p["MIN_LEAD"] else x and half // 2 + x % (half // 2) for x in values]
            rows = [{"integer_i": x, "exponent_i": self.rng.choice((-width, p["MIN_EXPONENT"] + 1 - x.bit_length())) +
                     self.rng.randrange(-2, 3)} for x in values]
            cases.append((p, {"integer_i": width, "exponent_i": p["EXPONENT_WIDTH"], "mantissa_o": p["P"],
                              "exponent_o": p["EXPONENT_WIDTH"]}, rows))

        def model(p, row):
            least = p["MIN_EXPONENT"] if p["FLUSH"] else -(1 << 30)
            return dict(zip(("mantissa_o", "exponent_o"), unsigned_float(row["integer_i"], row["exponent_i"], p["P"], least)))

        self.check_function("lawcat_unsigned_float", ["integer_i", "exponent_i"], {"mantissa_o": False, "exponent_o": True},
                            cases, model, lambda p: {1: 4, p["IN_WIDTH"]: 2}.get(p["MIN_LEAD"], 3))

    def test_reciprocal_is_that_of_numerics(self):
        cases = []
        for p in self.shapes("lawcat_reciprocal", "IN_WIDTH", "P", "TABLE_BITS", "SELECT"):
            entries = reciprocals(p["TABLE_BITS"])
            rows = self.load(p, [((b - a) & MASK32) << 32 | a for a, b in zip(entries, entries[1:])])
            width = p["IN_WIDTH"]
            for row in rows:
                row.update(integer_i=1, exponent_i=0, load=True)
            for x in [1, 2, 3, (1 << width) - 1, 1 << (width - 1)] + [self.rng.getrandbits(width) >> self.rng.randrange(width)
                                                                      for _ in range(400)]:
                rows.append({**rows[-1], "load": False, "integer_i": x or 1, "exponent_i": self.rng.randrange(-1500, 1500)})
            cases.append((p, {"table_we_i": 1, "table_select_i": 2, "table_index_i": 10, "table_data_i": 64,
                              "integer_i": width, "exponent_i": 12, "mantissa_o": p["P"], "exponent_o": 12}, rows))

        def model(p, row):
            if row["load"]:
                return {"mantissa_o": None, "exponent_o": None}
            x, rest_bits = row["integer_i"], 30 - p["TABLE_BITS"]
            places = floor_shift(x, x.bit_length() - 31) - (1 << 30)
            value = interpolate(reciprocals(p["TABLE_BITS"]), places >> rest_bits, places & (1 << rest_bits) - 1, rest_bits)
            return dict(zip(("mantissa_o", "exponent_o"), unsigned_float(
                value, -24 - (x.bit_length() - 1) - row["exponent_i"], p["P"], -(1 << 30))))

        inputs = ["table_we_i", "table_select_i", "table_index_i", "table_data_i", "integer_i", "exponent_i"]
        self.check_function("lawcat_reciprocal", inputs, {"mantissa_o": False, "exponent_o": True}, cases, model,
                            lambda p: 9)

    def test_mix_is_mix32_after_four_cycles(self):
        values = [0, 1, MASK32] + [self.rng.getrandbits(32) for _ in range(500)]
        cases = [({}, {"data_i": 32, "data_o": 32}, [{"data_i": x} for x in values])]
        self.assertEqual(mix32(1), 0x514e28b7)  # as published for MurmurHash3's finaliser
        self.check_function("lawcat_mix", ["data_i"], {"data_o": False}, cases,
                            lambda p, row: {"data_o": mix32(row["data_i"])}, lambda p: 4)


class Handshake(Simulated):
    INPUTS = ["valid_i", "data_i", "ready_i"]

    def rows(self, width, cycles, valid, ready):
        return [{"valid_i": self.rng.random() < valid, "data_i": self.rng.getrandbits(width),
                 "ready_i": self.rng.random() < ready} for _ in range(cycles)]

    def check_against(self, depth, rows, got):
        """A queue that offers a word from the cycle after it came; `depth` words are its room."""
        queue = []
        for row, out in zip(rows, got):
            self.assertEqual((out["valid_o"], out["ready_o"]), (bool(queue), len(queue) < depth))
            if "count_o" in out:
                self.assertEqual(out["count_o"], len(queue))
            if queue:
                self.assertEqual(out["data_o"], queue[0])
            room = len(queue) < depth
            if queue and row["ready_i"]:
                queue.pop(0)
            if row["valid_i"] and room:
                queue.append(row["data_i"])

    def test_fifo_is_a_queue_cycle_by_cycle(self):
        cases = []
        for p in self.shapes("lawcat_fifo", "WIDTH", "DEPTH"):
            widths = {"valid_i": 1, "data_i": p["WIDTH"], "ready_i": 1, "valid_o": 1, "ready_o": 1,
                      "data_o": p["WIDTH"], "count_o": p["DEPTH"].bit_length()}
            rows = [row for valid, ready in ((0.5, 0.5), (0.9, 0.3), (0.3, 0.9), (1, 1))
                    for row in self.rows(p["WIDTH"], 200, valid, ready)]
            cases.append((p, widths, rows))
        outputs = dict.fromkeys(["valid_o", "ready_o", "data_o", "count_o"], False)
        results = self.simulate("lawcat_fifo", self.INPUTS, outputs, cases, reset=True)
        for (p, _, rows), got in zip(cases, results):
            with self.subTest(parameters=p):
                self.check_against(p["DEPTH"], rows, got)
                if p["DEPTH"] >= 2:  # one word per cycle once both sides want it
                    self.assertTrue(all(out["valid_o"] and out["ready_o"] for out in got[-100:]))

    def test_skid_buffer_is_a_queue_of_two_that_never_slows(self):
        widths = {"valid_i": 1, "data_i": 16, "ready_i": 1, "valid_o": 1, "ready_o": 1, "data_o": 16}
        rows = [row for valid, ready in ((0.5, 0.5), (0.9, 0.3), (0.3, 0.9), (1, 1))
                for row in self.rows(16, 200, valid, ready)]
        outputs = dict.fromkeys(["valid_o", "ready_o", "data_o"], False)
        got = self.simulate("lawcat_skid_buffer", self.INPUTS, outputs, [({}, widths, rows)], reset=True)[0]
        self.check_against(2, rows, got)
        self.assertTrue(all(out["valid_o"] and out["ready_o"] for out in got[-100:]))


# One line of a cell broken, and the proof that must notice it.
BROKEN = [
    ("fifo", "lawcat_fifo", "count_q != COUNT_WIDTH'(DEPTH)", "1'b1"),
    ("fifo", "lawcat_fifo", "if (push) write_q", "if (valid_i) write_q"),
    ("fifo", "lawcat_fifo", "if (pop) read_q", "if (ready_i) read_q"),
    ("fifo", "lawcat_fifo", "DEPTH - 1)) ? '0 :", "DEPTH)) ? '0 :"),
    ("fifo", "lawcat_fifo", "assign data_o  = words[read_q]", "assign data_o  = words[write_q]"),
    ("skid_buffer", "lawcat_skid_buffer", "if (ready_q) skid_q", "skid_q"),
    ("skid_buffer", "lawcat_skid_buffer", "ready_q ? data_i : skid_q", "data_i"),
    ("skid_buffer", "lawcat_skid_buffer", "moves | (ready_q & ~valid_i)", "1'b1"),
    ("skid_buffer", "lawcat_skid_buffer", "if (moves) data_q", "data_q"),
    ("stages", "lawcat_token_buffer", "room_o  = reserved_q", "room_o  = committed_q"),
    ("stages", "lawcat_token_buffer", "next_read_slot = release_i ?", "next_read_slot = commit_i ?"),
    ("stages", "lawcat_token_buffer", "raddr_i({read_slot_q", "raddr_i({write_slot_q"),
    ("stages", "lawcat_token_buffer", "reserved_q + COUNT_WIDTH'(reserve_i) - COUNT_WIDTH'(release_i)",
     "reserved_q + COUNT_WIDTH'(reserve_i)"),
    ("stages", "lawcat_token_buffer", "side_q[write_slot_q] <=", "side_q[read_slot_q] <="),
    ("stages", "lawcat_stage_control", "& valid_i & room_i", "& valid_i"),
    ("stages", "lawcat_stage_control", "& valid_i & room_i", "& room_i"),
    ("stages", "lawcat_stage_control", "active_o & ~last_o", "active_o"),
    ("stages", "lawcat_stage_control", "start_o  = rst_ni & ~busy_q &", "start_o  = rst_ni & ~busy_q & index_q[0] &"),
]


class Proofs(Tools):
    def setUp(self):
        super().setUp()
        self.need("yosys", "yosys-smtbmc", "z3")

    def test_every_claim_of_rtl_formal_is_proved(self):
        code, text = self.run_tool(SOURCE / "scripts/prove")
        self.assertEqual(code, 0, text)
        proved = set(re.findall(r"^(\w+).*: holds ", text, re.MULTILINE))
        self.assertEqual(proved, {re.fullmatch(r"lawcat_(\w+)_proof", file.stem)[1]
                                  for file in (SOURCE / "rtl/formal").glob("*.sv")})

    def test_a_broken_cell_is_noticed(self):
        (self.folder / "scripts").mkdir()
        shutil.copy(SOURCE / "scripts/prove", self.folder / "scripts/prove")
        for proof, cell, right, wrong in BROKEN:
            with self.subTest(cell=cell, wrong=wrong):
                shutil.rmtree(self.folder / "rtl", ignore_errors=True)
                for part in ("cells", "formal"):
                    shutil.copytree(SOURCE / "rtl" / part, self.folder / "rtl" / part)
                file = self.folder / f"rtl/cells/{cell}.sv"
                text = file.read_text()
                self.assertIn(right, text)
                file.write_text(text.replace(right, wrong))
                code, text = self.run_tool(self.folder / "scripts/prove", proof)
                self.assertEqual(code, 1, text)
                self.assertRegex(text, rf"(?m)^{proof}.*: does not hold \(from reset\)")

    def test_what_is_not_decided_is_told_from_what_does_not_hold(self):
        for tool, body, said in (("timeout", "exit 124", r"not decided in \d+ s \(from reset\)"),
                                 ("z3", "exit 1", r"not decided \(from reset\), yosys-smtbmc ended with 1: .*\w"),
                                 ("yosys", "echo ERROR: no such file; exit 1", "not read: ERROR: no such file")):
            with self.subTest(tool=tool), tempfile.TemporaryDirectory() as folder:
                fake = pathlib.Path(folder) / tool
                fake.write_text(f"#!/bin/bash\n{body}\n")
                fake.chmod(0o755)
                code, text = self.run_tool("env", f"PATH={folder}:{os.environ['PATH']}", SOURCE / "scripts/prove", "skid_buffer")
                self.assertEqual(code, 3, text)
                self.assertRegex(text, rf"\Askid_buffer: {said}\n\Z")

    def test_a_missing_tool_and_an_unknown_name_are_said_in_a_sentence(self):
        code, text = self.run_tool(SOURCE / "scripts/prove", "halting")
        self.assertEqual((code, text.count("\n")), (2, 1))
        self.assertIn("no proof named halting", text)
        for tool in ("bash", "dirname", "yosys", "yosys-smtbmc"):
            (self.folder / tool).symlink_to(shutil.which(tool))
        code, text = self.run_tool("env", f"PATH={self.folder}", self.folder / "bash", SOURCE / "scripts/prove")
        self.assertEqual((code, text.count("\n")), (2, 1))
        self.assertIn("z3 is not installed", text)


if __name__ == "__main__":
    unittest.main()
