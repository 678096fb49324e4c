# SPDX-License-Identifier: Apache-2.0
# The sources as a whole: who includes whom, what the scripts do on machines unlike this one, what git tracks.
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LARGEST_FILE = 8 << 20
LARGER = {"models/recall-small/model.safetensors": 24 << 20}
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)

    def write(self, path, text, executable=False):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if executable else 0o644)
        return file

    def fake(self, name, body):
        self.write(f"bin/{name}", f"#!/bin/bash\n{body}\n", executable=True)

    def run_script(self, *command, path=SYSTEM_PATH, code=0, **more):
        done = subprocess.run(list(map(str, command)), env={**os.environ, "PATH": f"{self.folder}/bin:{path}"}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False, **more)
        self.assertEqual(done.returncode, code, f"{command}\n{done.stdout}\n{done.stderr}")
        return done


class Includes(Folder):
    def copy_sources(self):
        for top in ("hostlib", "kernels", "rtl", "sim", "tests"):
            for file in (SOURCE / top).rglob("*"):
                if file.suffix in (".h", ".cc"):
                    target = self.folder / file.relative_to(SOURCE)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)

    def check(self, root, code):
        done = subprocess.run([sys.executable, "-B", SOURCE / "scripts/check_includes.py", root], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr), (code, ""), done.stdout)
        return sorted(done.stdout.splitlines(), key=lambda line: "no room" in line)

    def test_the_sources_keep_to_the_table(self):
        self.assertEqual(self.check(SOURCE, 0), [])

    def test_a_folder_without_sources_is_refused_and_a_strange_file_is_none(self):
        for root in (self.folder / "none", self.folder):
            done = self.run_script(sys.executable, "-B", SOURCE / "scripts/check_includes.py", root, code=2)
            self.assertEqual(done.stderr, f"check_includes.py: {root}: expected the sources' root, with hostlib/ in it, got none\n")
        (self.folder / "hostlib/io/folder.h").mkdir(parents=True)
        self.write("hostlib/io/file.h", "").write_bytes(b"// \xff\n")
        self.assertEqual(self.check(self.folder, 0), [])

    def test_each_forbidden_include_is_found_at_its_line(self):
        self.copy_sources()
        self.write("nowhere/attention.h", "// a room without a line in the table\n")
        self.write("rtl/inside.h", "// no door\n")
        rooted = "start at the repository root"
        for file, line, sentence in (
            ("hostlib/trace/passkey.cc", '#include "hostlib/report/report.h"', "hostlib/trace/** may include"),
            ("hostlib/model/model.h", '#include "hostlib/backend/fixed.h"', "hostlib/model/** may include"),
            ("hostlib/numerics/format.h", '#include "hostlib/io/file.h"', "hostlib/numerics/** may include"),
            ("hostlib/io/error.h", ' # include "hostlib/arch/preset.h"', "nothing of the project"),
            ("hostlib/run.cc", '#include "sim/systemc_backend.h"', "hostlib/* may include"),
            ("hostlib/run.cc", '#include "nowhere/attention.h"', "hostlib/* may include"),
            ("sim/systemc_backend.cc", '#include "sim/cli/options.h"', "sim/* may include"),
            ("sim/calibrate.cc", '#include "rtl/inside.h"', "sim/* may include"),
            ("sim/memory/dma.h", '#include "sim/accelerator/engine.h"', "sim/memory/** may include"),
            ("sim/cli/main.cc", '#include "hostlib/model/model.h"', "sim/cli/** may include"),
            ("kernels/measure/timing.h", '#include "hostlib/run.h"', "kernels/measure/** may include"),
            ("hostlib/report/gpu_reference.h", '#include "kernels/device.h"', "hostlib/report/** may include"),
            ("tests/unit/ops_test.cc", '#include "sim/cli/options.h"', "tests/** may include"),
            ("hostlib/arch/preset.cc", '#include "../io/error.h"', rooted),
            ("hostlib/arch/preset.cc", '#include "preset.h"', rooted),
            ("hostlib/arch/preset.cc", '#include "hostlib/arch/no_such.h"', rooted),
            ("hostlib/arch/preset.cc", "#include <hostlib/arch/preset.h>", "stand in quotes"),
            ("hostlib/arch/preset.cc", "#include LAWCAT_HEADER", "names its file"),
        ):
            with self.subTest(file=file, line=line):
                target = self.folder / file
                before = target.read_text()
                target.write_text(f"{before}{line}\n")
                planted, stray = self.check(self.folder, 1)
                target.write_text(before)
                self.assertTrue(planted.startswith(f"{file}:{before.count(chr(10)) + 1}: "), planted)
                self.assertIn(sentence, planted)
                self.assertIn("nowhere/attention.h:1: its folder is no room", stray)



class Commit(Folder):
    """What scripts/cmake/Commit.cmake writes at a build."""

    def git(self, *arguments):
        return self.run_script("git", "-C", self.folder / "source", "-c", "user.name=a", "-c", "user.email=a@b", *arguments).stdout

    def built(self, *more):
        self.run_script("cmake", f"-DSOURCE={self.folder}/source", f"-DOUTPUT={self.folder}/build/commit.cc", "-DGIT=git", *more,
                        "-P", SOURCE / "scripts/cmake/Commit.cmake")
        return re.search(r'return "(.*)";', (self.folder / "build/commit.cc").read_text())[1]

    def test_is_the_sources_at_each_build_and_rewritten_only_when_it_changes(self):
        file = self.write("source/file", "one")
        self.git("init", "-q")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "one")
        commit = self.git("rev-parse", "--short=12", "HEAD").strip()
        self.assertEqual(self.built(), commit)
        os.utime(self.folder / "build/commit.cc", (1, 1))
        self.assertEqual(self.built(), commit)
        self.assertEqual((self.folder / "build/commit.cc").stat().st_mtime, 1)
        file.write_text("two")
        self.assertEqual(self.built(), f"{commit}-dirty")
        self.git("commit", "-q", "-a", "-m", "two")
        self.assertNotIn(commit, self.built())

    def test_can_be_told_and_is_unknown_otherwise(self):
        self.write("source/file", "no repository")
        self.assertEqual(self.built(), "unknown")
        self.assertEqual(self.built("-DGIT="), "unknown")
        self.assertEqual(self.built("-DCOMMIT=v1 of a copy"), "v1 of a copy")


class Setup(Folder):
    def machine(self, lacking):
        """A machine that has every package but those of `lacking`; apt-get notes what it is asked for."""
        self.fake("dpkg-query", f'case "${{@: -1}}" in {lacking}) exit 1 ;; *) printf installed ;; esac')
        self.fake("apt-get", f'echo "$*" >> {self.folder}/asked')
        self.fake("sudo", 'exec "$@"')

    def asked(self):
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def test_nothing_is_asked_of_apt_where_nothing_is_missing(self):
        self.machine("none")
        done = self.run_script("/bin/bash", SOURCE / "scripts/setup", "--tests")
        self.assertEqual((done.stdout, done.stderr, self.asked()), ("", "", []))

    def test_only_missing_packages_are_installed(self):
        self.machine("ninja-build | libgtest-dev")
        self.run_script("/bin/bash", SOURCE / "scripts/setup")
        self.assertEqual(self.asked(), ["update -qq", "install -y -qq --no-install-recommends ninja-build"])
        self.run_script("/bin/bash", SOURCE / "scripts/setup", "--tests")
        self.assertEqual(self.asked()[3], "install -y -qq --no-install-recommends ninja-build libgtest-dev")

    def test_without_apt_one_sentence_names_the_packages(self):
        done = self.run_script("/bin/bash", SOURCE / "scripts/setup", path="/nowhere", code=2)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("no apt", done.stderr)
        self.assertIn("libsystemc-dev", done.stderr)

    def test_without_root_and_sudo_one_sentence_names_what_is_missing(self):
        self.machine("libfmt-dev")
        (self.folder / "bin/sudo").unlink()
        as_nobody = [shutil.which("setpriv"), "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        with open(SOURCE / "scripts/setup", encoding="utf-8") as script:
            done = self.run_script(*as_nobody, "/bin/bash", "-s", path="/nowhere", code=2, stdin=script)
        self.assertEqual(done.stderr, "scripts/setup: neither root nor sudo; have an administrator install: libfmt-dev\n")
        self.assertEqual(self.asked(), [])

    def test_an_unknown_argument_is_refused(self):
        for arguments in (("--test",), ("--tests", "x"), ("", "x")):
            self.assertIn("usage:", self.run_script("/bin/bash", SOURCE / "scripts/setup", *arguments, code=2).stderr)


class Run(Folder):
    def setUp(self):
        super().setUp()
        shutil.copytree(SOURCE / "scripts", self.folder / "scripts")
        self.fake("dpkg-query", "printf installed")
        self.fake("ctest", 'echo "$*"')
        program = self.folder / "build/release/sim/cli/lawcat-sim"
        self.fake("cmake", f"""echo "$*" >> {self.folder}/asked
mkdir -p {program.parent}
touch {self.folder}/build/release/build.ninja
printf '#!/bin/bash\\necho "$*"\\n' > {program}
chmod +x {program}""")

    def configured(self):
        lines = (self.folder / "asked").read_text().splitlines()
        self.assertEqual([line.startswith("--build ") for line in lines], [False, True] * (len(lines) // 2))
        return lines[::2]

    def test_configures_builds_the_program_and_hands_its_arguments_over(self):
        first = self.run_script(self.folder / "scripts/run")
        self.assertEqual(first.stdout, "--trace passkey16k.json\n")
        second = self.run_script(self.folder / "scripts/run", "passkey1k", "--preset", "nano")
        self.assertEqual(second.stdout, "--trace passkey1k --preset nano\n")
        # What scripts/test turned on stays on.
        self.assertEqual(self.configured(), ["--preset release -DLAWCAT_WITH_SYSTEMC=ON -DLAWCAT_BUILD_TESTS=OFF",
                                             "--preset release -DLAWCAT_WITH_SYSTEMC=ON"])

    def test_tests_are_built_with_every_part_that_the_packages_give(self):
        done = self.run_script(self.folder / "scripts/test", "-R", "house")
        self.assertEqual(done.stdout, "--test-dir build/release --output-on-failure -j2 -R house\n")
        self.assertEqual(self.configured(), ["--preset release -DLAWCAT_BUILD_TESTS=ON -DLAWCAT_WITH_SYSTEMC=ON -DLAWCAT_WITH_RTL=ON"])


class Check(Folder):
    GOOD = "// SPDX-License-Identifier: Apache-2.0\n// A file.\nint answer();\n"

    @unittest.skipUnless(shutil.which("clang-format") and shutil.which("git"), "needs clang-format and git")
    def test_each_step_finds_its_fault_and_all_faults_show_in_one_run(self):
        shutil.copytree(SOURCE / "scripts", self.folder / "scripts")
        shutil.copy(SOURCE / ".clang-format", self.folder)
        self.fake("dpkg-query", "printf installed")
        file = self.write("hostlib/io/answer.cc", self.GOOD)
        for command in (["init", "-q"], ["add", "scripts", "hostlib"]):
            subprocess.run(["git", *command], cwd=self.folder, check=True)
        for text, failed in (
            (self.GOOD, ""),
            (self.GOOD.replace("int ", "int   "), "format"),
            (self.GOOD.replace("Apache-2.0", "MIT"), "licence"),
            (self.GOOD + '#include "answer.h"\n', "includes"),
            ('#include "answer.h"\nint   answer();', "format licence includes"),
        ):
            with self.subTest(failed=failed):
                file.write_text(text)
                done = self.run_script(self.folder / "scripts/check", "--quick", code=1 if failed else 0)
                self.assertEqual(done.stdout.splitlines()[-1],
                                 f"scripts/check: failed: {failed}" if failed else "scripts/check: all passed")

    @unittest.skipUnless(shutil.which("git"), "needs git")
    def test_lint_reads_changed_sources_and_those_that_include_changed_headers(self):
        shutil.copytree(SOURCE / "scripts", self.folder / "scripts")
        self.write("scripts/test", "#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\n", executable=True)
        self.fake("dpkg-query", "printf installed")
        self.fake("clang-format", "")
        self.fake("clang-tidy", f'echo "${{@: -1}}" >> {self.folder}/linted')
        for name, header in (("answer", "answer"), ("question", "answer"), ("other", "other"), ("alone", None)):
            self.write(f"hostlib/io/{name}.cc", self.GOOD + (f'#include "hostlib/io/{header}.h"\n' if header else ""))
        for name in ("answer", "other"):
            self.write(f"hostlib/io/{name}.h", self.GOOD)
        self.write("build/release/compile_commands.json", json.dumps(
            [{"file": str(file), "command": "c++"} for file in self.folder.glob("hostlib/io/*.cc")]))

        def commit():
            for command in ("init -q", "add scripts hostlib", "-c user.name=n -c user.email=e commit -q -m m"):
                subprocess.run(["git", *command.split()], cwd=self.folder, check=True)

        commit()
        for changed, linted in (([], "alone answer other question"), (["answer.h"], "answer question"),
                                (["other.h", "alone.cc"], "alone other")):
            for file in changed:
                self.write(f"hostlib/io/{file}", (self.folder / f"hostlib/io/{file}").read_text() + "// Changed.\n")
            for _ in range(2):  # as it is, and with that committed and no change since
                with self.subTest(changed=changed):
                    (self.folder / "linted").write_text("")
                    self.run_script(self.folder / "scripts/check")
                    self.assertEqual(sorted(pathlib.Path(file).stem for file in (self.folder / "linted").read_text().split()),
                                     linted.split())
                if changed:
                    commit()
                    changed = []

    def test_an_unknown_argument_is_refused(self):
        for arguments in (("--fast",), ("--quick", "x")):
            self.assertIn("usage:", self.run_script(SOURCE / "scripts/check", *arguments, code=2).stderr)


class Tracked(unittest.TestCase):
    def tracked(self):
        if not (SOURCE / ".git").exists() or not shutil.which("git"):
            self.skipTest("needs git and a clone")
        listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--stage"], cwd=SOURCE,
                                stdout=subprocess.PIPE, check=True, text=True).stdout
        entries = [entry.split("\t", 1) for entry in listed.split("\0") if entry]
        files = {path: info.split()[0] for info, path in entries if (SOURCE / path).is_file()}
        self.assertIn("CMakeLists.txt", files)
        return files

    def test_no_file_is_larger_than_8_mib_but_the_weights_that_may_be(self):
        large = {path: size for path in self.tracked() if (size := (SOURCE / path).stat().st_size) > LARGER.get(path, LARGEST_FILE)}
        self.assertEqual(large, {})

    def test_no_build_products(self):
        suffixes = {".o", ".a", ".so", ".pyc", ".gch", ".pch", ".ninja", ".exe"}
        for path in self.tracked():
            with self.subTest(path=path):
                self.assertNotIn(path.split("/")[0], ("build", "out"))
                self.assertNotIn(pathlib.Path(path).suffix, suffixes)
                self.assertNotIn(pathlib.Path(path).name, ("CMakeCache.txt", "compile_commands.json"))
                with open(SOURCE / path, "rb") as file:
                    self.assertNotEqual(file.read(4), b"\x7fELF")

    def test_scripts_parse_and_are_executable(self):
        """Every file that says by what it is run, and no other, has the mode that a clone will run it by."""
        kinds = {"#!/usr/bin/env bash": 0, "#!/usr/bin/env python3": 0}
        for path, mode in self.tracked().items():
            with open(SOURCE / path, "rb") as file:
                runs = file.read(2) == b"#!"
            with self.subTest(path=path):
                self.assertEqual((mode == "100755", os.access(SOURCE / path, os.X_OK)), (runs, runs))
                if runs:
                    text = (SOURCE / path).read_text(encoding="utf-8")
                    first = text.split("\n", 1)[0]
                    self.assertIn(first, kinds)
                    kinds[first] += 1
                    if first.endswith("bash"):
                        subprocess.run(["bash", "-n", SOURCE / path], check=True)
                        self.assertIn("set -euo pipefail", text)
                    else:
                        ast.parse(text, path)
        self.assertNotIn(0, kinds.values())

    def test_links_between_pages_resolve(self):
        seen = 0
        for path in {*self.tracked(), "README.md"}:
            if not path.endswith(".md"):
                continue
            text = re.sub(r"```.*?```", "", (SOURCE / path).read_text(encoding="utf-8"), flags=re.DOTALL)
            for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
                if "://" in target:
                    continue
                seen += 1
                with self.subTest(page=path, link=target):
                    self.assertTrue((SOURCE / path).parent.joinpath(target).exists())
        self.assertGreater(seen, 0)


if __name__ == "__main__":
    unittest.main()
