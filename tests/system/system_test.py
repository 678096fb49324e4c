# SPDX-License-Identifier: Apache-2.0
# Runs lawcat-sim in an empty folder, as a user does: commands, files, exit codes, sentences.
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

import system_vectors

PROGRAM = os.environ["LAWCAT_SIM"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "LAWCAT_DATA"}


class Program(unittest.TestCase):
    # A GPU reference file but for its measurements.
    GPU = {"schema": "lawcat-gpu/1", "device": "a GPU", "driver": "1", "cuda": "13.0", "date": "2026-01-01", "commit": "c",
           "sms": 132, "l2_bytes": 5e7, "copy_bytes_per_s": 4e12, "gates": "plain", "idle_power_w": 50}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_program(self, *arguments, code=0):
        done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.folder, env=ENVIRONMENT, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240, check=False)
        self.assertEqual(done.returncode, code, f"{arguments}\n{done.stdout}\n{done.stderr}")
        if code != 2:
            self.assertEqual(done.stderr, "", "piped: no progress, no warnings")
        return done

    def files(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))

    def refused(self, sentence, *arguments):
        """Exit 2, one line on stderr that has `sentence`, and no file or folder more than before."""
        before = self.files()
        done = self.run_program(*arguments, code=2)
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("lawcat-sim: "), done.stderr)
        self.assertIn(sentence, done.stderr)
        self.assertEqual(self.files(), before)

    def write_json(self, name, value):
        (self.folder / name).write_text(json.dumps(value))
        return name

    def shipped_trace(self, name):
        return json.loads((SOURCE / "traces" / f"{name}.json").read_text())

    def small_trace(self, tokens=200, **changes):
        trace = self.shipped_trace("passkey1k")
        trace["name"] = "small"
        trace["task"]["tokens"] = tokens
        trace.update(changes)
        return self.write_json("small.json", trace)

    def small_timing_trace(self, **changes):
        trace = self.shipped_trace("llama3.2-1b-16k")
        trace["name"] = "timing"
        trace["phases"] = {"prefill_tokens": 64, "decode_tokens": 2}
        trace.update(changes)
        return self.write_json("timing.json", trace)

    def assert_reasons(self, value, place="report"):
        if isinstance(value, dict):
            for key, element in value.items():
                if element is None:
                    self.assertTrue(value.get(key + "_reason"), f"{place}.{key} is null without a reason")
                self.assert_reasons(element, f"{place}.{key}")
        elif isinstance(value, list):
            for element in value:
                self.assert_reasons(element, place + "[]")

    def report(self, folder):
        report = json.loads((self.folder / folder / "report.json").read_text())
        self.assert_reasons(report)
        return report


class MainJob(Program):
    def test_passkey1k_answers_right_with_the_bits_of_fixed(self):
        done = self.run_program("--trace", "passkey1k.json")
        self.assertEqual(self.files(), ["out", "out/passkey1k", "out/passkey1k/report.html",
                                        "out/passkey1k/report.json"])
        report = self.report("out/passkey1k")
        self.assertEqual(report["schema"], "lawcat-report/1")
        for key, parts in {
            "answer": "expected got correct",
            "latency": "accelerator_cycles accelerator_s host_s end_to_end_s prefill_s decode_s_per_token gpu_s "
                       "speedup_vs_gpu",
            "energy": "accelerator_j by_component_j host_j gpu_j ratio_vs_gpu",
            "numerics": "sqnr_db max_abs_err rel_l2_err cosine top1_agreement saturations per_layer against",
            "simulator": "wall_s cycles_per_s",
            "provenance": "commit preset_hash trace_sha256 gpu_reference seeds",
        }.items():
            for part in parts.split():
                self.assertIn(part, report[key])
        self.assertEqual(report["backend"], "systemc")
        self.assertIs(report["answer"]["correct"], True)
        self.assertEqual(report["answer"]["got"].replace(" ", ""), report["answer"]["expected"])
        self.assertEqual(report["verification"], {"against": "fixed", "equal": True, "first_difference": None,
                                                  "first_difference_reason":
                                                  "every output and every final context is equal"})
        self.assertIn("correct", done.stdout)
        self.assertIn("equal to fixed", done.stdout)

    def test_figures_of_one_report_agree_with_each_other(self):
        self.run_program("--trace", "passkey1k", "--out", "r")
        report = self.report("r")
        preset = json.loads((SOURCE / "hostlib/arch/presets/edge.json").read_text())
        latency, energy = report["latency"], report["energy"]
        self.assertAlmostEqual(latency["accelerator_s"],
                               latency["accelerator_cycles"] / preset["clock_hz"])
        self.assertAlmostEqual(latency["end_to_end_s"], latency["accelerator_s"] + latency["host_s"])
        self.assertAlmostEqual(
            latency["end_to_end_s"],
            latency["prefill_s"] + latency["decode_s_per_token"] * latency["decode_steps"])
        parts = energy["by_component_j"].values()
        self.assertAlmostEqual(energy["accelerator_j"], sum(part["nominal_j"] for part in parts))
        self.assertLess(energy["accelerator_low_j"], energy["accelerator_j"])
        self.assertLess(energy["accelerator_j"], energy["accelerator_high_j"])
        self.assertGreater(report["numerics"]["sqnr_db"], 20)
        self.assertEqual(len(report["numerics"]["per_layer"]), 4)
        self.assertTrue(all(0 <= share <= 1 for share in report["utilization"].values()))
        # Every token of the prompt and of the fed-back answer went through all four layers.
        self.assertEqual(report["counters"]["unit.tokens"]["value"],
                         4 * (latency["prefill_tokens"] + latency["decode_steps"]))

    def test_two_runs_differ_in_times_only(self):
        trace = self.small_trace()
        reports = []
        for name in ("a", "b"):
            self.run_program("--trace", trace, "--out", name)
            report = self.report(name)
            for key in ("host_s", "end_to_end_s", "prefill_s", "decode_s_per_token"):
                self.assertGreater(report["latency"].pop(key), 0)
            report.pop("simulator")
            reports.append(report)
        self.assertEqual(reports[0], reports[1])

    def test_page_is_whole_and_asks_nothing_from_outside(self):
        self.run_program("--trace", self.small_trace(), "--out", "r")
        page = (self.folder / "r/report.html").read_text()
        self.assertTrue(page.rstrip().endswith("</html>"))
        self.assertIn("<svg", page)
        for outside in ("http", "<script", "<link", "src="):
            self.assertNotIn(outside, page)

    def test_set_changes_the_machine_and_its_hash(self):
        trace = self.small_trace()
        self.run_program("--trace", trace, "--out", "a")
        self.run_program("--trace", trace, "--out", "b", "--set", "engine.count=1", "--set", "clock_hz=400e6")
        a, b = self.report("a"), self.report("b")
        self.assertGreater(b["latency"]["accelerator_cycles"], a["latency"]["accelerator_cycles"])
        self.assertAlmostEqual(b["latency"]["accelerator_s"], b["latency"]["accelerator_cycles"] / 400e6)
        self.assertNotEqual(a["provenance"]["preset_hash"], b["provenance"]["preset_hash"])
        self.assertEqual(a["answer"], b["answer"])

    def test_wrong_answer_is_exit_1_and_still_reported(self):
        trace = self.small_trace(task={"text": "The pass key is 1 2 3 4 5 .", "expected": "no such answer"})
        done = self.run_program("--trace", trace, code=1)
        self.assertIn("WRONG", done.stdout)
        self.assertIs(self.report("out/small")["answer"]["correct"], False)

    def test_timeline_is_chrome_trace_events(self):
        self.run_program("--trace", self.small_trace(), "--timeline", "--out", "r")
        report = self.report("r")
        events = json.loads((self.folder / "r/timeline.json").read_text())["traceEvents"]
        rows = [event["args"]["name"] for event in events if event["ph"] == "M"]
        self.assertEqual(len(rows), len(set(rows)))
        spans = [event for event in events if event["ph"] == "X"]
        self.assertGreater(len(spans), 10)
        end = max(span["ts"] + span["dur"] for span in spans) * 1e-6
        self.assertLessEqual(end, report["latency"]["accelerator_s"] * 1.001)

    def test_what_a_layer_is_asked_is_recorded_as_vectors(self):
        self.run_program("--trace", self.small_trace(), "--backend", "fixed", "--record-vectors", "3=asked.safetensors")
        latency = self.report("out/small")["latency"]
        tokens = latency["prefill_tokens"] + latency["decode_steps"]
        done = self.run_program("unit", "--vectors", "asked.safetensors", "--against", "reference")
        self.assertIn(f"unit on fixed (edge): {tokens} tokens, heads 4/2 x 64, features 32\n", done.stdout)

    def test_gpu_figures_come_from_the_reference_file(self):
        trace = self.small_trace(gpu_reference="gpu.json")
        self.run_program("--trace", trace, "--out", "without")
        without = self.report("without")
        self.assertIsNone(without["latency"]["gpu_s"])
        self.assertIn("gpu.json is not there", without["latency"]["gpu_s_reason"])
        tokens = without["latency"]["prefill_tokens"]
        call = {"shape": {"heads": 4, "kv_heads": 2, "head_dim": 64, "feature_dim": 32},
                "batch": 1, "attention": "unit", "method": "graph", "repetitions": 3, "min_s": 1e-4, "max_s": 1e-2}
        self.write_json("gpu.json", {
            **self.GPU, "measurements": [
                {**call, "operation": "prefill", "tokens": tokens, "median_s": 2e-3, "energy_j": 0.5},
                {**call, "operation": "decode", "tokens": tokens, "median_s": 1e-3, "energy_j": 0.1}]})
        self.run_program("--trace", trace, "--out", "with")
        report = self.report("with")
        self.assertAlmostEqual(report["latency"]["gpu_s"], 4 * (2e-3 + 4 * 1e-3))
        self.assertAlmostEqual(report["latency"]["speedup_vs_gpu"],
                               report["latency"]["gpu_s"] / report["latency"]["accelerator_s"])
        self.assertAlmostEqual(report["energy"]["gpu_j"], 4 * (0.5 + 4 * 0.1))
        self.assertAlmostEqual(report["energy"]["ratio_vs_gpu"],
                               report["energy"]["gpu_j"] / report["energy"]["accelerator_j"])


class OtherBackends(Program):
    def test_fixed_has_numerics_but_no_time(self):
        self.run_program("--trace", self.small_trace(), "--backend", "fixed")
        report = self.report("out/small")
        self.assertIs(report["answer"]["correct"], True)
        self.assertIsNone(report["latency"]["accelerator_cycles"])
        self.assertIn("no notion of time", report["latency"]["accelerator_cycles_reason"])
        self.assertIsNone(report["energy"]["accelerator_j"])
        self.assertGreater(report["numerics"]["sqnr_db"], 20)

    def test_reference_has_an_answer_only(self):
        self.run_program("--trace", self.small_trace(), "--backend", "reference")
        report = self.report("out/small")
        self.assertIs(report["answer"]["correct"], True)
        self.assertIn("reference itself", report["numerics"]["sqnr_db_reason"])
        self.assertIn("saturations", report["numerics"]["saturations_reason"])

    def test_systemc_reports_the_same_numerics_as_fixed(self):
        trace = self.small_trace()
        self.run_program("--trace", trace, "--backend", "fixed", "--out", "f")
        self.run_program("--trace", trace, "--backend", "systemc", "--out", "s")
        self.assertEqual(self.report("f")["numerics"], self.report("s")["numerics"])


class TimingOnly(Program):
    def test_a_shape_gives_time_and_energy_and_says_that_it_has_no_values(self):
        done = self.run_program("--trace", self.small_timing_trace())
        report = self.report("out/timing")
        self.assertIs(report["timing_only"], True)
        self.assertIn("only a shape", done.stdout)
        self.assertEqual(report["latency"]["host_s_source"], "modelled")
        self.assertGreater(report["latency"]["accelerator_cycles"], 0)
        self.assertGreater(report["energy"]["accelerator_j"], 0)
        self.assertGreater(report["energy"]["host_j"], 0)
        self.assertIsNone(report["numerics"]["sqnr_db"])
        # The answer's first token comes out of the prefill.
        self.assertEqual(report["latency"]["decode_steps"], 1)
        self.assertEqual(report["counters"]["unit.tokens"]["value"], 16 * (64 + 1))

    def test_an_answer_takes_as_many_steps_with_weights_as_without(self):
        shape = self.shipped_trace("llama3.2-1b-16k")
        for tokens, steps in ((0, 0), (1, 0), (3, 2)):
            shape["phases"] = {"prefill_tokens": 64, "decode_tokens": tokens}
            self.run_program("--trace", self.write_json("shape.json", shape), "--out", "shape")
            weights = self.small_trace(phases={"decode_tokens": tokens}, task={"text": "the grass is green ."})
            self.run_program("--trace", weights, "--out", "weights")
            for out in ("shape", "weights"):
                self.assertEqual(self.report(out)["latency"]["decode_steps"], steps, out)

    def test_a_backend_without_time_refuses(self):
        self.refused("--backend: expected one with time, as the trace's model is only a shape, got fixed",
                     "--trace", self.small_timing_trace(), "--backend", "fixed")

    def test_host_time_follows_the_presets_host(self):
        trace = self.small_timing_trace(phases={"prefill_tokens": 64, "decode_tokens": 0})
        for name, flops in (("a", "1e12"), ("b", "1e10")):
            self.run_program("--trace", trace, "--out", name, "--set", f"host.matmul_flop_per_s={flops}",
                             "--set", "host.bandwidth_bytes_per_s=1e15")
        slow, fast = self.report("b")["latency"]["host_s"], self.report("a")["latency"]["host_s"]
        self.assertAlmostEqual(slow / fast, 100, places=6)
        for name, size in (("a", "0.5"), ("b", "2")):
            self.run_program("--trace", trace, "--out", name, "--set", f"host.bytes_per_weight={size}",
                             "--set", "host.matmul_flop_per_s=1e20")
        wide, narrow = self.report("b")["latency"]["host_s"], self.report("a")["latency"]["host_s"]
        self.assertAlmostEqual(wide / narrow, 4, places=6)


class HostCuda(Program):
    """`--host cuda`: refused in a sentence where it cannot run, else the same answers as the CPU's."""

    def why_not(self):
        line = re.search(r"^hosts$.*?^  cuda +([^\n]*)$", self.run_program("list").stdout, re.MULTILINE | re.DOTALL)
        reason = line.group(1).split("; ", 1)[1]
        return None if reason == "available" else reason

    def test_without_a_gpu_each_command_says_why(self):
        why = self.why_not()
        if why is None:
            self.skipTest("this machine has a GPU")
        sentence = "--host cuda: not available: " + why
        tokens = SOURCE / "models/passkey-tiny/expected.safetensors"
        self.refused(sentence, "--trace", "passkey1k", "--backend", "fixed", "--host", "cuda")
        self.refused(sentence, "eval", "--tokens", "128", "--samples", "1", "--host", "cuda")
        self.refused(sentence, "logits", "--model", "passkey-tiny", "--tokens", tokens, "--result", "r", "--host", "cuda")

    def test_with_a_gpu_the_pass_key_is_found_by_every_kind_of_unit(self):
        why = self.why_not()
        if why is not None:
            self.skipTest(why)
        for backend in ("fixed", "cuda"):
            self.run_program("--trace", "passkey1k", "--backend", backend, "--host", "cuda", "--out", backend)
            report = self.report(backend)
            self.assertIs(report["answer"]["correct"], True)
            self.assertTrue(report["host"].startswith("cuda: "))
            self.assertGreater(report["latency"]["host_s"], 0)
            self.assertGreater(report["numerics"]["top1_agreement"], 0.9)

    def test_a_shape_has_no_host_to_run_on(self):
        self.refused("modelled", "--trace", "llama3.2-1b-16k", "--host", "cuda")


class BadInput(Program):
    def test_usage(self):
        self.refused("--trace or a command")
        self.refused("--speed", "--trace", "passkey1k", "--speed", "9")
        self.refused("--trace", "--trace")
        self.refused("--host", "--trace", "passkey1k", "--host", "abacus")
        self.refused("--host", "unit", "--random", "plain", "--tokens", "4", "--host", "cpu")
        self.refused("belongs behind the command", "--quiet", "list")
        self.refused("--vectors", "unit", "--result", "r.safetensors")
        self.refused("--samples", "eval", "--samples", "0")
        self.refused("tokens: expected at least 74, got 12", "eval", "--tokens", "12")
        self.refused("--depths", "eval", "--depths", "2")
        self.refused("--task", "eval", "--task", "riddle")
        self.refused("--task", "prompts", "--output", "p.safetensors")
        self.refused("--task", "prompts", "--task", "passkey,riddle", "--output", "p.safetensors")
        self.refused("--output or --text", "prompts", "--task", "passkey")
        self.refused("--split", "prompts", "--task", "s-niah-1", "--text", "--split", "all")
        self.refused("--jobs", "prompts", "--task", "s-niah-1", "--text", "--jobs", "0")
        self.refused("--last", "logits", "--model", "m", "--tokens", "t", "--result", "r", "--last", "-1")

    SMALL = ("unit", "--random", "plain", "--tokens", "8", "--shape", "2,1,8,4")

    def test_values_that_no_option_takes(self):
        for seed in ("-1", "99999999999999999999", "1.5"):
            self.refused("--seed: expected an integer from 0 to 2^64 - 1", "eval", "--seed", seed)
            self.refused("--seed: expected an integer", *self.SMALL, "--against", "reference", "--seed", seed)
        for number in ("nan", "-1", "inf"):
            self.refused("--tolerance: expected a number from 0", *self.SMALL, "--against", "reference", "--tolerance", number)
        self.refused("--noise: expected a number from 0 to 1, got nan", "eval", "--noise", "nan")
        self.refused("each length once, got 100,100", "eval", "--tokens", "100,100", "--samples", "1")
        self.refused("at most 16777216", "eval", "--tokens", ",".join(map(str, range(100, 200))), "--samples", "1048576")
        self.refused("--output: expected some text, got none", "prompts", "--task", "passkey", "--output", "")
        self.refused("--out: expected some text, got none", "--trace", "passkey1k", "--out", "")

    def test_names_too_long_for_a_file(self):
        name = "a" * 300
        self.refused("trace", "--trace", name)
        self.refused("--vectors", "unit", "--vectors", name, "--against", "fixed")
        self.refused("--preset", *self.SMALL, "--against", "fixed", "--preset", name)
        self.refused("cannot make the folder: File name too long", "--trace", "passkey1k", "--out", "x/" + name)
        self.refused("File name too long", *self.SMALL, "--result", f"y/{name}/r.safetensors")

    def test_json_without_end(self):
        (self.folder / "deep.json").write_text('{"schema":' + "[" * 200000 + "]" * 200000 + "}")
        self.refused("deep.json: line 1, column 75: expected at most 64 levels of nesting, got more", "--trace", "deep.json")
        (self.folder / "nul.json").write_text('{"schema": "lawcat-trace/1"}\0}}')
        self.refused("nul.json: line 1, column 29: expected valid JSON, got a NUL byte", "--trace", "nul.json")

    def test_a_file_is_kept_until_the_run_is_done(self):
        (self.folder / "precious").write_text("precious")
        self.refused("nosuch", *self.SMALL, "--save-vectors", "precious", "--preset", "nosuch", "--against", "reference")
        self.assertEqual((self.folder / "precious").read_text(), "precious")

    def shell(self, command):
        """In bash, `program` being this one; its exit code and what stderr got."""
        done = subprocess.run(["bash", "-c", f"program() {{ '{PROGRAM}' \"$@\"; }}; {command}"], cwd=self.folder, env=ENVIRONMENT,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        return done.returncode, done.stderr

    def test_what_cannot_be_printed_is_no_success(self):
        for command in ("list", "--help", f"gpu --show {SOURCE / 'traces/gpu/reference.json'}"):
            for to in (">/dev/full", ">&-"):
                code, error = self.shell(f"program {command} {to}")
                self.assertEqual((code, error.count("\n")), (2, 1), error)
                self.assertIn("lawcat-sim: standard output: cannot write: ", error)
        # The sentence itself: lost, but the exit code is not.
        self.assertEqual(self.shell("program --trace absent 2>/dev/full")[0], 2)
        self.assertEqual(self.shell("program --trace absent 2>&-")[0], 2)

    def test_a_closed_stream_is_not_the_next_files_number(self):
        self.assertEqual(self.shell(f"program {' '.join(self.SMALL)} --result r.safetensors >&-")[0], 2)
        header = (self.folder / "r.safetensors").read_bytes()
        self.assertEqual(json.loads(header[8:8 + int.from_bytes(header[:8], "little")])["o"]["dtype"], "F32")

    def test_a_limit_of_file_sizes(self):
        code, error = self.shell("ulimit -f 1; program unit --random plain --tokens 1000 --shape 2,1,8,4 --result o/r.safetensors")
        self.assertEqual(code, 2)
        self.assertIn("cannot write: File too large", error)
        self.assertEqual(self.files(), [])

    def test_names_that_do_not_exist(self):
        self.refused("absent", "--trace", "absent")
        self.refused("nosuch", "--trace", "passkey1k", "--preset", "nosuch")
        self.refused("--backend: expected one of reference, fixed, systemc, rtl, cuda, cuda-fp32, got gpu",
                     "--trace", "passkey1k", "--backend", "gpu")
        self.refused("engine.wheels", "--trace", "passkey1k", "--set", "engine.wheels=4")
        self.refused("engine.count", "--trace", "passkey1k", "--set", "engine.count=none")
        self.refused("nosuch", "eval", "--model", "nosuch")
        self.refused("nosuch", "--trace", self.small_trace(model="nosuch"))
        self.refused("nosuch", "--trace", self.small_trace(preset="nosuch"))

    def test_trace_files(self):
        (self.folder / "broken.json").write_text('{"schema": ')
        self.refused("not valid JSON", "--trace", "broken.json")
        self.refused("schema", "--trace", self.write_json("other.json", {"schema": "other/1"}))
        self.refused("colour", "--trace", self.small_trace(colour="blue"))
        self.refused("task.tokens", "--trace", self.small_trace(tokens=5))
        self.refused("a model with weights", "--trace", self.small_trace(model="llama3.2-1b"))
        self.refused("no.txt", "--trace", self.small_trace(task={"text_file": "no.txt"}))
        system_vectors.write(self.folder / "t.safetensors", {"tokens": ("I64", [2], [1, 999])})
        self.refused("tokens[1]", "--trace", self.small_trace(task={"tokens_file": "t.safetensors"}))
        self.refused("LAWCAT", "--trace", self.small_trace(model="passkey-tiny-teacher"))
        self.refused("median_s", "--trace", self.small_trace(
            gpu_reference=self.write_json("gpu.json", {
                **self.GPU, "measurements": [
                    {"shape": {"heads": 4, "kv_heads": 2, "head_dim": 64, "feature_dim": 32}, "batch": 1,
                     "attention": "unit", "method": "graph", "repetitions": 3,
                     "operation": "prefill", "tokens": 8, "min_s": 2, "median_s": 1, "max_s": 3}]})))

    def test_energy_table_that_does_not_fit_is_found_before_the_run(self):
        endless = self.small_timing_trace(phases={"prefill_tokens": 1 << 24, "decode_tokens": 0})
        self.refused("5 nm at", "--trace", endless, "--set", "technology.node_nm=5")
        self.refused("expected an entry dram:SDRAM", "--trace", endless, "--set", "memory.dram=SDRAM")

    def test_output_folder_that_cannot_be_is_found_before_the_run(self):
        (self.folder / "file").write_text("")
        start = time.monotonic()
        self.refused("file", "--trace", "passkey22k", "--out", "file/below")
        self.assertLess(time.monotonic() - start, 10, "the run of 22K tokens should not have begun")
        self.refused("file", "eval", "--out", "file/below")
        self.refused("file", "prompts", "--task", "s-niah-1", "--output", "file/below.safetensors")

    def test_timeline_needs_time(self):
        self.refused("--timeline: expected a backend with time, got fixed",
                     "--trace", self.small_trace(), "--backend", "fixed", "--timeline")

    def test_record_vectors(self):
        record = ("--trace", self.small_trace(), "--backend", "fixed", "--record-vectors")
        self.refused("expected LAYER=FILE, got asked", *record, "asked")
        self.refused("expected LAYER=FILE, got 1=", *record, "1=")
        self.refused("layer: expected 0 to 3, got 4", *record, "4=asked.safetensors")
        (self.folder / "file").write_text("")
        start = time.monotonic()
        for sentence, place in (("file/below: cannot", "file/below/asked.safetensors"), ("cannot open for writing", ".")):
            self.refused(sentence, "--trace", "passkey22k", "--record-vectors", f"1={place}")
        self.assertLess(time.monotonic() - start, 10, "the run of 22K tokens should not have begun")
        self.refused("expected a trace with values", "--trace", self.small_timing_trace(), "--record-vectors", "0=a.safetensors")

    def test_vectors(self):
        good = system_vectors.unit_vectors(4)

        def write(**changes):
            system_vectors.write(self.folder / "v.safetensors", {**good, **changes})
            return "v.safetensors"

        self.refused("expected --result or --against", "unit", "--vectors", write())
        for option in (("--curve",), ("--tolerance", "0")):
            self.refused(f"{option[0]} requires --against", "unit", "--vectors", write(), "--result", "r.safetensors", *option)
        run = ("unit", "--result", "r.safetensors", "--vectors")
        self.refused("absent", *run, "absent.safetensors")
        (self.folder / "noise").write_bytes(b"\xff" * 100)
        self.refused("noise", *run, "noise")
        self.refused("q", *run, write(q=("F32", [4, 64], good["q"][2])))
        self.refused("gk", *run, write(gk=("F32", [4, 2, 8], good["gk"][2][:64])))
        self.refused("extra", *run, write(extra=("F32", [1], [0.0])))
        self.refused("k", *run, write(k=("F32", [4, 2, 16], [math.nan] + good["k"][2][1:])))
        self.refused("r.safetensors", "unit", "--vectors", write(), "--against", "r.safetensors")
        self.refused("below", "unit", "--vectors", write(), "--result", "noise/below/r.safetensors")
        self.refused("open for writing", "unit", "--vectors", write(), "--result", ".")

    def test_logits(self):
        system_vectors.write(self.folder / "t.safetensors", {"tokens": ("I64", [3], [1, 2, 3])})
        run = ("logits", "--result", "r.safetensors", "--tokens")
        self.refused("--last: expected at most the 3 tokens", *run, "t.safetensors", "--model", "passkey-tiny",
                     "--last", "4")
        self.refused("a model with weights", *run, "t.safetensors", "--model", "llama3.2-1b")
        system_vectors.write(self.folder / "f.safetensors", {"tokens": ("F32", [3], [1, 2, 3])})
        self.refused("tokens", *run, "f.safetensors", "--model", "passkey-tiny")
        system_vectors.write(self.folder / "n.safetensors", {"words": ("I64", [3], [1, 2, 3])})
        self.refused("tokens", *run, "n.safetensors", "--model", "passkey-tiny")

    def test_logits_that_overflow_are_no_answer(self):
        model = self.folder / "loud"
        shutil.copytree(SOURCE / "models/passkey-tiny", model)
        weights = bytearray((model / "model.safetensors").read_bytes())
        start = 8 + int.from_bytes(weights[:8], "little")
        begin, end = json.loads(weights[8:start])["model.norm.weight"]["data_offsets"]
        weights[start + begin:start + end] = b"\x7f\x7f" * ((end - begin) // 2)  # 3.39e38 in bfloat16
        (model / "model.safetensors").write_bytes(weights)
        system_vectors.write(self.folder / "t.safetensors", {"tokens": ("I64", [3], [1, 2, 3])})
        for command in (("logits", "--tokens", "t.safetensors", "--result", "r.safetensors"),
                        ("eval", "--tokens", "256", "--samples", "1")):
            self.refused("logits of row 0: expected finite numbers, as of sound weights", *command, "--model", "loud")
        self.refused("logits of row 0: expected finite numbers, as of sound weights",
                     "--trace", self.small_trace(model="loud"))


class Interrupt(Program):
    def interrupted(self, number, *arguments):
        before = self.files()
        process = subprocess.Popen([PROGRAM, *arguments], cwd=self.folder, env=ENVIRONMENT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # The handler is installed as the first thing; then a moment of the run itself.
        status = pathlib.Path(f"/proc/{process.pid}/status")
        for _ in range(2000):
            caught = int(re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)[1], 16)
            if caught >> (number - 1) & 1 or process.poll() is not None:
                break
            time.sleep(0.01)
        time.sleep(0.2)
        self.assertIsNone(process.poll(), "the run was to be long enough to be interrupted")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 2)
        self.assertEqual(out, "")
        self.assertEqual(err.count("\n"), 1)
        self.assertIn(f"interrupted by {number.name}", err)
        self.assertEqual(self.files(), before)

    def test_waiting_for_a_pipe_ends(self):
        os.mkfifo(self.folder / "pipe")
        self.interrupted(signal.SIGTERM, "gpu", "--show", "pipe")

    def test_main_job_leaves_nothing(self):
        self.interrupted(signal.SIGINT, "--trace", "passkey22k")

    def test_timing_only_leaves_nothing(self):
        trace = self.small_timing_trace(phases={"prefill_tokens": 1 << 22, "decode_tokens": 0})
        self.interrupted(signal.SIGINT, "--trace", trace)

    def test_eval_leaves_nothing(self):
        self.interrupted(signal.SIGTERM, "eval", "--tokens", "4096", "--samples", "500")


class Unit(Program):
    def setUp(self):
        super().setUp()
        self.vectors = system_vectors.unit_vectors(70)
        system_vectors.write(self.folder / "v.safetensors", self.vectors)

    def test_all_backends_answer_and_systemc_gives_the_bits_of_fixed(self):
        for backend in ("reference", "fixed", "systemc"):
            self.run_program("unit", "--vectors", "v.safetensors", "--backend", backend, "--result",
                             f"{backend}.safetensors")
        # The files differ in who made them, which their metadata say.
        self.assertEqual(system_vectors.read(self.folder / "fixed.safetensors"),
                         system_vectors.read(self.folder / "systemc.safetensors"))
        reference = system_vectors.read(self.folder / "reference.safetensors")
        fixed = system_vectors.read(self.folder / "fixed.safetensors")
        self.assertEqual(reference["o"][1], [70, 4, 16])
        self.assertEqual(reference["state"][1], [4, 16, 17])
        for name in ("o", "state"):
            signal_power = sum(x * x for x in reference[name][2])
            noise = sum((x - y) ** 2 for x, y in zip(reference[name][2], fixed[name][2]))
            self.assertGreater(noise, 0)
            self.assertLess(math.sqrt(noise / signal_power), 0.02)

    def test_the_state_goes_on_where_it_stopped(self):
        # Continuing from a saved state equals one run, once the convolution's four taps have been passed over:
        # taps that only see the current token make the tails irrelevant.
        taps = ("F32", [64, 4], [0.0, 0.0, 0.0, 1.0] * 64)
        whole = {**self.vectors, "q_conv1d": taps, "k_conv1d": taps}

        def part(begin, end, **more):
            cut = {name: (dtype, [end - begin, *shape[1:]],
                          values[begin * len(values) // 70:end * len(values) // 70])
                   for name, (dtype, shape, values) in whole.items() if name in ("q", "k", "v", "gk")}
            return {**whole, **cut, **more}

        def run(tensors):
            system_vectors.write(self.folder / "in.safetensors", tensors)
            self.run_program("unit", "--vectors", "in.safetensors", "--backend", "reference", "--result",
                             "out.safetensors")
            return system_vectors.read(self.folder / "out.safetensors")

        expected = run(whole)
        first = run(part(0, 30))
        second = run(part(30, 70, state=first["state"]))
        for name, got in (("o", first["o"][2] + second["o"][2]), ("state", second["state"][2])):
            for x, y in zip(expected[name][2], got, strict=True):
                self.assertAlmostEqual(x, y, delta=1e-5)

    def test_comparison_prints_errors_points_and_curve(self):
        done = self.run_program("unit", "--vectors", "v.safetensors", "--against", "reference", "--curve")
        for words in ("relative L2", "SQNR dB", "cosine", "max error", "error up to a length", "datapath points",
                      "saturations", "no output is off by more than 0.01"):
            self.assertIn(words, done.stdout)
        self.assertEqual(self.files(), ["v.safetensors"])

    def test_random_vectors_can_be_kept_and_give_the_same_answer_again(self):
        kept = self.folder / "kept.safetensors"
        drawn = self.run_program("unit", "--random", "spiky", "--tokens", "80", "--shape", "2,1,64,32", "--seed", "9",
                                 "--save-vectors", kept, "--against", "reference")
        again = self.run_program("unit", "--vectors", kept, "--against", "reference")
        self.assertEqual(drawn.stdout, again.stdout)
        self.refused("neither", "unit", "--against", "reference")
        self.refused("plain", "unit", "--random", "smooth", "--against", "reference")

    def test_tolerance_decides_the_exit_code_and_names_the_place(self):
        self.run_program("unit", "--vectors", "v.safetensors", "--backend", "systemc", "--against", "fixed",
                         "--tolerance", "0")
        done = self.run_program("unit", "--vectors", "v.safetensors", "--against", "reference", "--tolerance",
                                "1e-6", code=1)
        self.assertRegex(done.stdout, r"first output off by more than 1e-06 .*: token \d+, head \d+, channel \d+")

    def test_a_changed_result_file_is_found_where_it_was_changed(self):
        self.run_program("unit", "--vectors", "v.safetensors", "--result", "r.safetensors")
        result = system_vectors.read(self.folder / "r.safetensors")
        result["o"][2][(5 * 4 + 2) * 16 + 7] += 1
        system_vectors.write(self.folder / "r.safetensors", result)
        done = self.run_program("unit", "--vectors", "v.safetensors", "--against", "r.safetensors",
                                "--tolerance", "0", code=1)
        self.assertIn("token 5, head 2, channel 7", done.stdout)


class AgainstGpu(Program):
    """A capture is made by a backend that stands in for the GPU's kernels."""

    def capture(self, name, *arguments):
        self.run_program("unit", *arguments, "--bf16", "--save-vectors", f"{name}.vectors.safetensors", "--backend",
                         "reference", "--result", f"{name}.gpu.safetensors")

    def test_the_capture_of_the_vectors_is_found_and_compared(self):
        self.capture("a", "--random", "plain", "--tokens", "40")
        done = self.run_program("unit", "--vectors", "a.vectors.safetensors", "--against", "gpu", "--tolerance", "0.05")
        self.assertRegex(done.stdout, r"(?m)^against gpu, backend reference, commit \S+$")
        self.assertRegex(done.stdout, r"(?m)^  o +\d\.\d+e-\d+ ")
        same = self.run_program("unit", "--vectors", "a.vectors.safetensors", "--backend", "reference", "--against", "gpu",
                                "--tolerance", "0")
        self.assertIn("no output is off by more than 0 of", same.stdout)
        self.run_program("unit", "--vectors", "a.vectors.safetensors", "--against", "gpu", "--tolerance", "1e-7", code=1)

    def test_a_capture_of_other_vectors_is_refused(self):
        self.capture("a", "--random", "plain", "--tokens", "40")
        self.capture("b", "--random", "spiky", "--tokens", "40")
        (self.folder / "b.gpu.safetensors").rename(self.folder / "a.gpu.safetensors")
        self.refused("expected the GPU's result for these vectors", "unit", "--vectors", "a.vectors.safetensors", "--against",
                     "gpu")
        self.refused("--against gpu: expected a GPU's result for these vectors", "unit", "--vectors", "b.vectors.safetensors",
                     "--against", "gpu")
        self.refused("--vectors nosuch: expected a file of this name", "unit", "--vectors", "nosuch", "--against", "gpu")

    def test_every_shipped_capture_belongs_to_its_vectors_and_is_near_fixed(self):
        found = sorted((SOURCE / "traces/expected").glob("*.vectors.safetensors"))
        if not found:
            self.skipTest("no GPU has been captured yet")
        for file in found:
            with self.subTest(file=file.name):
                name = file.name.removesuffix(".vectors.safetensors")
                self.run_program("unit", "--vectors", name, "--against", "gpu", "--tolerance", "0.1")


class Gpu(Program):
    SHOWN = {**{key: value for key, value in Program.GPU.items() if key != "idle_power_w"}, "energy_reason": "no meter",
             "measurements": [{"shape": {"heads": 4, "kv_heads": 2, "head_dim": 64, "feature_dim": 32},
                               "operation": operation, "attention": "unit", "tokens": tokens, "batch": 1, "median_s": seconds,
                               "min_s": seconds, "max_s": seconds, "repetitions": 3, "method": "graph"}
                              for operation, tokens, seconds in
                              (("prefill", 100, 1e-4), ("prefill", 400, 4e-4), ("decode", 256, 1e-6))]}

    def can_measure(self):
        return "available" in re.search(r"(?m)^  measuring .*$", self.run_program("list").stdout)[0]

    def test_bad_usage_is_said_before_the_gpu_is_looked_for(self):
        self.refused("--shape, --trace or --show", "gpu")
        self.refused("nosuch", "gpu", "--shape", "nosuch")
        self.refused("nosuch", "gpu", "--trace", "nosuch")
        self.refused("--tokens", "gpu", "--shape", "llama3.2-1b", "--tokens", "0")
        self.refused("--tokens", "gpu", "--trace", "passkey1k", "--tokens", "10")
        self.refused("--operations", "gpu", "--shape", "llama3.2-1b", "--operations", "dream")
        self.refused("--append", "gpu", "--shape", "llama3.2-1b", "--append")
        self.refused("--show", "gpu", "--show", "a.json", "--shape", "llama3.2-1b")
        self.refused("nosuch.json", "gpu", "--show", "nosuch.json")

    def test_without_a_gpu_one_sentence_says_so(self):
        if self.can_measure():
            self.skipTest("this machine has a GPU")
        self.refused("lawcat-sim: gpu: ", "gpu", "--shape", "llama3.2-1b", "--tokens", "1024", "--out", "f/gpu.json")
        self.refused("lawcat-sim: gpu: ", "gpu", "--trace", "passkey1k")

    def test_a_file_is_shown_as_a_table(self):
        out = self.run_program("gpu", "--show", self.write_json("g.json", self.SHOWN)).stdout
        self.assertIn("no energy: no meter", out)
        self.assertRegex(out, r"unit +400 +1 +400\.00")

    def test_a_report_stands_beside_measured_and_interpolated_figures(self):
        self.write_json("g.json", self.SHOWN)
        trace = self.small_trace(tokens=200, gpu_reference="g.json")
        self.run_program("--trace", trace, "--backend", "fixed", "--out", "r")
        report = self.report("r")
        tokens, steps = report["latency"]["prefill_tokens"], report["latency"]["decode_steps"]
        self.assertAlmostEqual(report["latency"]["gpu_s"], 4 * (tokens * 1e-6 + steps * 1e-6), places=12)
        self.assertEqual(report["latency"]["gpu_s_source"],
                         f"interpolated for {tokens} tokens between the measured 100 and 400")
        self.assertIn("no meter", report["energy"]["gpu_j_reason"])

    def test_a_gpu_measures_what_a_trace_needs(self):
        if not self.can_measure():
            self.skipTest("this machine has no GPU that can be measured")
        self.run_program("gpu", "--trace", "passkey1k", "--quick", "--out", "g.json")
        measured = json.loads((self.folder / "g.json").read_text())["measurements"]
        self.assertEqual([m["operation"] for m in measured], ["prefill", "decode"])


class Logits(Program):
    def test_logits_match_the_models_expected_ones(self):
        for model in ("passkey-tiny", "passkey-tiny-teacher", "recall-small"):
            expected_file = SOURCE / "models" / model / "expected.safetensors"
            self.run_program("logits", "--model", model, "--tokens", expected_file, "--result", "l.safetensors")
            expected = system_vectors.read(expected_file)["logits"]
            got = system_vectors.read(self.folder / "l.safetensors")["logits"]
            self.assertEqual(got[1], expected[1])
            power = sum(x * x for x in expected[2])
            noise = sum((x - y) ** 2 for x, y in zip(expected[2], got[2]))
            self.assertLess(math.sqrt(noise / power), 1e-4, model)

    def test_last_keeps_the_last_rows(self):
        tokens = SOURCE / "models/passkey-tiny/expected.safetensors"
        run = ("logits", "--model", "passkey-tiny", "--tokens", tokens, "--result")
        self.run_program(*run, "all.safetensors")
        self.run_program(*run, "last.safetensors", "--last", "2")
        everything = system_vectors.read(self.folder / "all.safetensors")["logits"]
        last = system_vectors.read(self.folder / "last.safetensors")["logits"]
        self.assertEqual(last[1], [2, 256])
        self.assertEqual(last[2], everything[2][-512:])


class Eval(Program):
    ARGUMENTS = ("eval", "--tokens", "100,200", "--samples", "6")

    def evaluation(self, *more, seed=1):
        self.run_program(*self.ARGUMENTS, "--seed", seed, *more, "--out", "e")
        return json.loads((self.folder / "e/eval.json").read_text())

    def test_counts_intervals_and_answers_agree(self):
        result = self.evaluation()
        self.assertEqual(result["schema"], "lawcat-eval/1")
        self.assertEqual([length["tokens"] for length in result["results"]], [100, 200])
        for length in result["results"]:
            answers = [answer for answer in result["answers"] if answer["tokens"] == length["tokens"]]
            self.assertEqual(len(answers), 6)
            self.assertEqual(length["correct"], sum(answer["correct"] for answer in answers))
            self.assertEqual(length["correct"], sum(part["correct"] for part in length["by_depth"]))
            self.assertEqual(6, sum(part["samples"] for part in length["by_depth"]))
            low, high = length["wilson_95"]
            self.assertTrue(0 <= low <= length["accuracy"] <= high <= 1)
            self.assertEqual(length["accuracy"], 1, "this model solves short prompts")

    def test_a_model_is_named_as_its_folder_dots_and_all(self):
        (self.folder / "tiny-3.2-1b").symlink_to(SOURCE / "models/passkey-tiny")
        said = self.run_program("eval", "--model", "tiny-3.2-1b/", "--tokens", "100", "--samples", "1").stdout
        self.assertIn("passkey of tiny-3.2-1b: ", said)
        result = json.loads((self.folder / "out/eval-passkey-tiny-3.2-1b/eval.json").read_text())
        self.assertEqual(result["model"], "tiny-3.2-1b")

    def test_the_answer_does_not_depend_on_the_number_of_threads(self):
        one = subprocess.run([PROGRAM, *self.ARGUMENTS, "--out", "one"], cwd=self.folder, check=True, timeout=240,
                             env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
        self.assertTrue(one.stdout)
        self.evaluation()
        self.assertEqual((self.folder / "one/eval.json").read_text(), (self.folder / "e/eval.json").read_text())

    def test_depths_and_noise_are_taken(self):
        result = self.evaluation("--depths", "0,1", "--noise", "0.5", "--backend", "reference")
        self.assertEqual({answer["depth"] for answer in result["answers"]}, {0, 1})
        self.assertEqual([part["depth"] for part in result["results"][0]["by_depth"]], [0, 1])
        self.assertEqual(result["noise"], 0.5)

    def test_writes_a_picture_with_every_count(self):
        result = self.evaluation("--noise", "0.5", "--depths", "0.25,1", "--set", "engine.count=2")
        picture = (self.folder / "e/eval.svg").read_text()
        text = [element.text for element in xml.etree.ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
        for words in ("passkey-tiny on task passkey", "backend fixed, preset edge, engine.count=2", "100", "200", "25 %",
                      "6 prompts a length, seed 1; noise 0.5, distractors 0", "prompt length in tokens"):
            self.assertIn(words, text)
        counts = [part for length in result["results"] for part in (length, *length["by_depth"])]
        self.assertEqual(len(counts), 6)
        self.assertEqual(sorted(words for words in text if re.fullmatch(r"\d+ of \d+", words)),
                         sorted(f"{part['correct']} of {part['samples']}" for part in counts))

    def test_distractors_are_taken_and_held_to_what_fits(self):
        result = self.evaluation("--distractors", "2")
        self.assertEqual(result["distractors"], 2)
        self.refused("passkey prompt: distractors: expected from 0 to 3, as fit into 100 tokens, got 4",
                     *self.ARGUMENTS, "--distractors", "4")
        self.refused("--distractors", *self.ARGUMENTS, "--distractors", "-1")

    def test_against_answers_every_prompt_twice(self):
        same = self.evaluation("--against", "reference")
        self.assertEqual(same["against"], "reference")
        for length in same["results"]:
            self.assertEqual((length["against"]["correct"], length["differing_answers"]), (6, 0))
        # A state of four bits forgets what float64 keeps.
        coarse = self.evaluation("--against", "reference", "--set", "datapath.state=bfp4e8",
                                 "--set", "datapath.state_rounding=truncate")
        for length in coarse["results"]:
            answers = [answer for answer in coarse["answers"] if answer["tokens"] == length["tokens"]]
            self.assertEqual(length["against"]["correct"], 6)
            self.assertEqual(length["differing_answers"],
                             sum(answer["got"] != answer["against_got"] for answer in answers))
        self.assertGreater(sum(length["differing_answers"] for length in coarse["results"]), 0)
        self.refused("--against", *self.ARGUMENTS, "--against", "riddle")

    def test_a_softmax_model_is_scored_without_a_backend(self):
        result = self.evaluation("--model", "passkey-tiny-teacher")
        self.assertEqual([length["accuracy"] for length in result["results"]], [1, 1])
        self.assert_reasons(result, "eval")
        self.assertIsNone(result["backend"])
        self.assertIn("softmax attention", (self.folder / "e/eval.svg").read_text())
        self.assertEqual(self.evaluation("--model", "passkey-tiny-teacher", "--backend", "reference"), result)
        self.refused("expected LAWCAT attention, which has a unit, got softmax attention",
                     "eval", "--model", "passkey-tiny-teacher", "--tokens", "100", "--against", "reference")

    def test_another_seed_gives_other_prompts_and_systemc_the_answers_of_fixed(self):
        fixed = self.evaluation()
        systemc = self.evaluation("--backend", "systemc")
        self.assertEqual(fixed["answers"], systemc["answers"])
        other = self.evaluation(seed=4)
        self.assertNotEqual([answer["expected"] for answer in fixed["answers"]],
                            [answer["expected"] for answer in other["answers"]])

    def test_recall_small_finds_numbers_in_noise_and_in_essays_on_the_accelerators_formats(self):
        for task in ("s-niah-1", "s-niah-2"):
            self.run_program("eval", "--task", task, "--model", "recall-small", "--tokens", "512", "--samples", "4", "--backend", "fixed", "--out", task)
            self.assertEqual(json.loads((self.folder / task / "eval.json").read_text())["results"][0]["correct"], 4)

    def test_the_other_tasks_run_on_any_backend(self):
        for task, tokens, chance in (("s-niah-1", 200, 1 / 9e6), ("s-niah-3", 300, 2 ** -122),
                                     ("babilong-qa2", 400, 1 / 6), ("babilong-qa3", 400, 1 / 5)):
            self.run_program("eval", "--task", task, "--tokens", tokens, "--samples", "2", "--against", "reference")
            folder = self.folder / f"out/eval-{task}-passkey-tiny"
            result = json.loads((folder / "eval.json").read_text())
            self.assertEqual(result["task"], task)
            self.assertAlmostEqual(result["chance"] / chance, 1)
            self.assertEqual(result["results"][0]["repeating_prompts"], 0)
            self.assertEqual(result["results"][0]["samples"], 2)
            self.assertEqual(result["results"][0]["against"]["samples"], 2)
            picture = (folder / "eval.svg").read_text()
            xml.etree.ElementTree.fromstring(picture)
            self.assertIn(f"passkey-tiny on task {task}", picture)
            self.assertIn(f"2 prompts a length, seed 1; test split; by chance {chance:.3g}", picture)
        answers = []
        for backend in ("fixed", "systemc"):
            self.run_program("eval", "--task", "s-niah-2", "--tokens", "120", "--samples", "1", "--depths", "0.5",
                             "--backend", backend, "--out", backend)
            answers.append(json.loads((self.folder / backend / "eval.json").read_text())["answers"])
        self.assertEqual(answers[0], answers[1])

    def test_other_tasks_have_no_noise_and_need_room(self):
        self.refused("s-niah-1 prompt: noise and distractors: expected none: only passkey has them",
                     "eval", "--task", "s-niah-1", "--tokens", "200", "--noise", "0.5")
        self.refused("babilong-qa2 prompt 0: tokens: expected at least",
                     "eval", "--task", "babilong-qa2", "--tokens", "200")


class Prompts(Program):
    TASKS = ["passkey", "s-niah-1", "s-niah-2", "s-niah-3", "babilong-qa2", "babilong-qa3"]
    ARGUMENTS = ("prompts", "--task", ",".join(TASKS), "--tokens", "420,600", "--samples", "36")

    def pool(self, name, *more):
        said = self.run_program(*self.ARGUMENTS, *more, "--output", name).stdout
        self.assertIn(f"in {name}\n", said)
        tensors = system_vectors.read(self.folder / name)
        self.assertEqual({key: value[:2] for key, value in tensors.items()},
                         {"tokens": ("I32", [len(tensors["tokens"][2])]), "offsets": ("I64", [37]),
                          "answer": ("I32", [36]), "task": ("I32", [36])})
        offsets = tensors["offsets"][2]
        self.assertEqual((offsets[0], offsets[-1]), (0, len(tensors["tokens"][2])))
        samples = [tensors["tokens"][2][begin:end] for begin, end in zip(offsets, offsets[1:])]
        self.assertEqual(tensors["task"][2], [i % 6 for i in range(36)])
        for i, (sample, answer) in enumerate(zip(samples, tensors["answer"][2])):
            self.assertLessEqual(len(sample), (420, 600)[i // 6 % 2])
            self.assertGreater(len(sample), (420, 600)[i // 6 % 2] - 45)
            self.assertTrue(0 < answer < len(sample))
        return samples, tensors["answer"][2]

    def test_a_pool_has_the_prompts_tokens_then_the_answers(self):
        samples, answers = self.pool("p.safetensors", "--seed", "5")
        vocabulary = json.loads((SOURCE / "models/passkey-tiny/tokenizer.json").read_text())["model"]["vocab"]
        words = {number: word for word, number in vocabulary.items()}
        text = self.run_program(*self.ARGUMENTS, "--seed", "5", "--text").stdout
        shown = re.findall(r"^## (\S+) (\d+), (\d+) of \d+ tokens, depth [\d.]+, answer (\S+)\n(.*?)\[\[(.*?)\]\]\n\n",
                           text, re.DOTALL | re.MULTILINE)
        self.assertEqual([int(index) for _, index, *_ in shown], list(range(36)))
        for (task, index, tokens, answer, prompt, completion), sample, start in zip(shown, samples, answers):
            self.assertEqual(task, self.TASKS[int(index) % 6])
            self.assertEqual(int(tokens), len(sample))
            self.assertEqual(sample[0], vocabulary["<bos>"])
            self.assertIn(answer, completion.replace(" ", ""))

            def numbers(written):
                return [vocabulary.get(piece, vocabulary["<unk>"])
                        for piece in re.findall(r"\d|[a-zA-Z_\u0080-\uffff]+|[^\w\s\u0080-\uffff]+", written)]

            self.assertEqual([words[token] for token in sample[1:start]], [words[token] for token in numbers(prompt)])
            self.assertEqual(sample[start:], numbers(completion))
        self.assertEqual(system_vectors.metadata(self.folder / "p.safetensors"),
                         {"schema": "lawcat-prompts/1", "task": ",".join(self.TASKS), "tokens": "420,600", "seed": "5",
                          "split": "train"})

    def test_one_request_gives_one_pool_with_any_number_of_threads(self):
        self.pool("one.safetensors", "--jobs", "1")
        self.pool("four.safetensors", "--jobs", "4")
        one = (self.folder / "one.safetensors").read_bytes()
        self.assertEqual(one, (self.folder / "four.safetensors").read_bytes())
        self.pool("test.safetensors", "--split", "test")
        self.assertNotEqual(one, (self.folder / "test.safetensors").read_bytes())
        self.pool("seed.safetensors", "--seed", "2")
        self.assertNotEqual(one, (self.folder / "seed.safetensors").read_bytes())

    def test_a_sentencepiece_tokenizer_is_enough(self):
        if not shutil.which("spm_train"):
            self.skipTest("spm_train is not installed")
        model = self.folder / "model"
        model.mkdir()
        text = self.run_program(*self.ARGUMENTS, "--text").stdout
        (self.folder / "text").write_text(text)
        subprocess.run(["spm_train", f"--input={self.folder / 'text'}", f"--model_prefix={model / 'tokenizer'}",
                        "--vocab_size=600", "--model_type=bpe", "--byte_fallback", "--split_digits",
                        "--normalization_rule_name=identity", "--remove_extra_whitespaces=false"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        arguments = ("prompts", "--task", ",".join(self.TASKS[1:]), "--model", model, "--tokens", "1000,1500")
        said = self.run_program(*arguments, "--samples", "40", "--output", "p.safetensors").stdout
        self.assertIn("40 prompts", said)
        tensors = system_vectors.read(self.folder / "p.safetensors")
        offsets = tensors["offsets"][2]
        for i, (begin, end) in enumerate(zip(offsets, offsets[1:])):
            self.assertLessEqual(end - begin, (1000, 1500)[i // 5 % 2])
            self.assertGreater(end - begin, (1000, 1500)[i // 5 % 2] - (70 if i % 5 == 0 else 16))
            self.assertEqual(tensors["tokens"][2][begin], 1, "SentencePiece's begin token")
            self.assertEqual(tensors["tokens"][2][end - 1], 2, "and its end token")

    def test_depth_is_taken(self):
        for depth in ("0", "1"):
            said = self.run_program("prompts", "--task", "s-niah-1,s-niah-3", "--tokens", "400", "--samples", "6",
                                    "--depth", depth, "--text").stdout
            self.assertEqual(re.findall(r"^## .* depth ([\d.]+),", said, re.MULTILINE), [f"{depth}.000"] * 6)
        self.refused("--depth", "prompts", "--task", "s-niah-1", "--depth", "2", "--text")

    def test_text_that_repeats_is_said(self):
        said = self.run_program("prompts", "--task", "s-niah-2", "--tokens", "40000", "--samples", "2", "--split", "test",
                                "--output", "p.safetensors").stdout
        self.assertIn("in 2 of them the haystack's text repeats: split test is shorter than the prompt", said)

    def test_what_cannot_be_made_is_refused(self):
        self.refused("s-niah-3 prompt 0: tokens: expected at least",
                     "prompts", "--task", "s-niah-3", "--tokens", "80", "--output", "p.safetensors")
        self.refused("passkey prompt: tokens: expected at least 74, got 20",
                     "prompts", "--task", "passkey", "--tokens", "20", "--output", "p.safetensors")
        self.refused("nosuch", "prompts", "--task", "s-niah-1", "--model", "nosuch", "--text")
        # A tokenizer whose last token of the prompt depends on the answer behind it.
        tokenizer = json.loads((SOURCE / "models/passkey-tiny/tokenizer.json").read_text())
        tokenizer["added_tokens"] += [{"id": 300 + digit, "content": f"is {digit}"} for digit in range(1, 10)]
        (self.folder / "joining").mkdir()
        self.write_json("joining/tokenizer.json", tokenizer)
        self.refused("joining: tokenizer: expected tokens of a prompt to begin those of prompt and answer, got others "
                     "for s-niah-1, sample 0", "prompts", "--task", "s-niah-1", "--model", "joining", "--samples", "1",
                     "--output", "p.safetensors")

    def test_a_missing_haystack_is_named(self):
        data = self.folder / "data"
        (data / "traces/tasks").mkdir(parents=True)
        (data / "models").symlink_to(SOURCE / "models")
        shutil.copy(SOURCE / "traces/tasks/words.json", data / "traces/tasks")
        done = subprocess.run([PROGRAM, "prompts", "--task", "babilong-qa2", "--text"], cwd=self.folder, text=True,
                              env={**ENVIRONMENT, "LAWCAT_DATA": str(data)}, capture_output=True, timeout=60,
                              check=False)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertRegex(done.stderr, r"\Alawcat-sim: .*haystack/book\.txt: [^\n]*\n\Z")

    def test_a_trace_may_name_any_task(self):
        task = {"generator": "s-niah-1", "tokens": 200, "seed": 1, "depth": 0.5}
        self.run_program("--trace", self.small_trace(task=task), "--backend", "fixed", "--out", "r", code=1)
        report = self.report("r")
        self.assertRegex(report["answer"]["expected"], r"\A\d{7}\Z")
        self.assertIs(report["answer"]["correct"], False)
        self.assertEqual(report["provenance"]["seeds"], [1])
        self.refused("task.distractors: expected one of the keys",
                     "--trace", self.small_trace(task={**task, "distractors": 1}))


class List(Program):
    def test_names_what_is_there_and_what_runs(self):
        out = self.run_program("list").stdout
        for name in ("passkey16k", "llama3.2-1b", "passkey-tiny", "edge", "reference", "fixed", "systemc", "measuring"):
            self.assertRegex(out, rf"(?m)^  {re.escape(name)} ")

    def test_calibrate_finds_no_difference_or_says_why_it_cannot_look(self):
        arguments = ("calibrate", "--cases", "10", "--tokens", "3", "--json", "c.json")
        available = re.findall(r"^  (systemc|rtl) .*; available$", self.run_program("list").stdout, re.MULTILINE)
        if len(available) < 2:
            self.refused("calibrate: not available", *arguments)
            return
        self.refused("nosuch", "calibrate", "--preset", "nosuch", "--json", "c.json")
        self.refused("open for writing", "calibrate", "--json", ".")
        printed = self.run_program(*arguments).stdout.splitlines()
        self.assertEqual(len(printed), 1 + 10 + 2)
        report = json.loads((self.folder / "c.json").read_text())
        self.assertEqual((len(report["cases"]), report["passed"]), (10, True))
        for case in report["cases"]:
            for side in ("rtl", "model"):
                for stage in case[side]["stages"].values():
                    self.assertEqual(sum(stage.values()), case[side]["cycles"])
            self.assertEqual(case["error_compute"] + case["error_stall"] + case["error_memory"], case["error_cycles"])

    def test_every_suite_of_this_file_is_run_by_ctest(self):
        listed = re.search(r"foreach\(suite ([^)]*)\)", (SOURCE / "tests/system/CMakeLists.txt").read_text())[1].split()
        self.assertEqual(sorted(listed), sorted(suite.__name__ for suite in Program.__subclasses__()))

    def commands(self):
        """Names of the subcommands, as --help lists them."""
        return re.findall(r"^  (\w+) ", self.run_program("--help").stdout.split("Subcommands:\n")[1], re.MULTILINE)

    def test_help_on_every_level_is_exit_0(self):
        self.assertIn("calibrate", self.commands())
        for command in ([], *([name] for name in self.commands())):
            self.assertIn("--help", self.run_program(*command, "--help").stdout)

    def test_every_listed_backend_and_preset_can_be_asked_for(self):
        system_vectors.write(self.folder / "v.safetensors", system_vectors.unit_vectors(3))
        out = self.run_program("list").stdout
        section = out[out.index("presets\n"):]
        presets, backends = re.split(r"(?m)^(?:hosts|gpu)$", section)[0].split("backends\n")
        for preset in re.findall(r"(?m)^  (\S+)", presets):
            self.run_program("unit", "--vectors", "v.safetensors", "--against", "fixed", "--preset", preset)
        for backend in re.findall(r"(?m)^  (\S+) .*; available$", backends):
            self.run_program("unit", "--vectors", "v.safetensors", "--against", "fixed", "--backend", backend)


if __name__ == "__main__":
    unittest.main()
