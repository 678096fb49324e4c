# SPDX-License-Identifier: Apache-2.0
# Runs every command that the README shows (long ones on less), and checks its tables against what they describe.
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["LAWCAT_SIM"]
SOURCE = pathlib.Path(__file__).resolve().parents[2]
README = (SOURCE / "README.md").read_text(encoding="utf-8")
WRITTEN_PROGRAM = "build/release/sim/cli/lawcat-sim"
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
            for line in block.splitlines() if line.strip()]


def shorter(command):
    command = re.sub(r" gpu (?=--trace|--shape)", " gpu --quick ", command)
    return re.sub(r"--samples \d+", "--samples 2", command.replace("passkey16k", "passkey1k"))


def labels(table):
    return re.findall(r"^  (\w+) ", table, re.MULTILINE)


class Readme(unittest.TestCase):
    def setUp(self):
        """A folder that looks like the repository's root, so that `out/` and the like stay out of the real one."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for entry in SOURCE.iterdir():
            if entry.name not in (".git", "build", "out"):
                (self.folder / entry.name).symlink_to(entry)

    def shell(self, command):
        environment = {key: value for key, value in os.environ.items() if key != "LAWCAT_DATA"}
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, text=True, timeout=240,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                              env={**environment, "PYTHONDONTWRITEBYTECODE": "1", "LAWCAT_SIM": PROGRAM})
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def refusal_without_gpu(self, command):
        """How the command must fail where there is no GPU, or where none has been measured yet; None if it must work."""
        if " gpu --show " in command:
            return None if (SOURCE / command.split()[-1]).exists() else "reference.json"
        if " gpu " in f"{command} " and "--against gpu" not in command:
            return "gpu: " if "available" not in self.shell('"$LAWCAT_SIM" list | grep measuring') else None
        if "--against gpu" in command:
            vectors = re.search(r"--vectors (\S+)", command)[1]
            return None if (SOURCE / f"traces/expected/{vectors}.gpu.safetensors").exists() else f"--vectors {vectors}"
        return None

    def check_program(self, command):
        refusal = self.refusal_without_gpu(command)
        command = shorter(command).replace(WRITTEN_PROGRAM, '"$LAWCAT_SIM"')
        if refusal is None:
            self.shell(command)
            return
        said = self.shell(f"{command} 2>&1 || echo \"exit code $?\"")
        self.assertRegex(said, rf"\Alawcat-sim: [^\n]*{re.escape(refusal)}[^\n]*\nexit code 2\n\Z")

    def check_script(self, command):
        name, *arguments = command.split()
        self.assertTrue(os.access(SOURCE / name, os.X_OK), f"{name} is not there or not executable")
        if name.endswith(".py"):
            self.shell(f"{name} --help")
            return
        self.shell(f"bash -n {name}")
        if name == "scripts/run":
            self.shell(f'"$LAWCAT_SIM" --trace {" ".join(arguments)}')

    def check_configuring(self, command):
        """Configuring and building is what brought us here: names of presets and options are what can rot."""
        presets = json.loads((SOURCE / "CMakePresets.json").read_text())
        kind = "buildPresets" if "--build" in command else "configurePresets"
        self.assertIn(re.search(r"--preset (\S+)", command)[1], [preset["name"] for preset in presets[kind]])
        options = (SOURCE / "scripts/cmake/LawcatOptions.cmake").read_text()
        for option in re.findall(r"-D(\w+)=", command):
            self.assertIn(f"option({option} ", options)

    def test_every_command_works(self):
        self.assertEqual(COMMANDS[:2], ["scripts/run passkey16k.json", "scripts/test"])
        for command in COMMANDS:
            with self.subTest(command=command):
                if re.match(r"(scripts/|\.ci/)", command):
                    self.check_script(shorter(command))
                elif command.startswith("cmake "):
                    self.check_configuring(command)
                else:
                    self.check_program(command)
        shown = "\n".join(COMMANDS)
        for part in ("--trace", "eval", "prompts", "unit", "logits", "gpu", "list"):
            self.assertIn(f"{WRITTEN_PROGRAM} {part}", shown)

    def test_the_table_shown_has_the_lines_that_the_program_prints(self):
        shown = re.search(r"<!-- passkey16k -->\n```\n(.*?)```\n<!-- /passkey16k -->", README, re.DOTALL)[1]
        self.assertTrue(shown.startswith("passkey-tiny on systemc (edge), "), shown)
        printed = self.shell('"$LAWCAT_SIM" --trace passkey1k')
        self.assertEqual(labels(shown), labels(printed))
        self.assertIn("latency", labels(shown))

    def test_the_presets_table_says_what_the_files_say(self):
        rows = {}
        for file in sorted((SOURCE / "hostlib/arch/presets").glob("*.json")):
            preset = json.loads(file.read_text())
            rows[preset["name"]] = (f"| `{preset['name']}` | {preset['engine']['count']} "
                                    f"| {preset['engine']['state_lanes']} | {preset['clock_hz'] / 1e6:.0f} MHz "
                                    f"| {preset['datapath']['state']} | {preset['buffers']['state_kib']} KiB "
                                    f"| {preset['memory']['dram']} |")
        section = README.split("## Presets")[1].split("\n## ")[0]
        self.assertEqual(sorted(re.findall(r"^\| `.*$", section, re.MULTILINE)), sorted(rows.values()))

    def test_the_options_table_has_the_options_of_this_version(self):
        options = (SOURCE / "scripts/cmake/LawcatOptions.cmake").read_text()
        there = set(re.findall(r"^(?:option\(|set\((?=.*CACHE))(LAWCAT_\w+)", options, re.MULTILINE))
        self.assertEqual(set(re.findall(r"^\| `(LAWCAT_\w+)`", README, re.MULTILINE)), there)


if __name__ == "__main__":
    unittest.main()
