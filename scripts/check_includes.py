#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Checks who includes whom: every C++ file's project includes against the table of rooms below.
import pathlib
import re
import sys

IO = "hostlib/io/**"
NUMERICS = "hostlib/numerics/**"
ARCH = "hostlib/arch/**"
BACKEND = "hostlib/backend/**"
QUESTION = ["hostlib/backend/job.h", "hostlib/backend/backend.h"]

# Room: what it may include beside itself. `*` is one path element, `**` any number of them. A file belongs to
# the one room that matches it; what no room matches is a folder that nobody has given a place yet. A room's doors are
# named one by one: its other headers are its own. rtl/ has three, as the platform takes its engines apart:
# rtl_backend.h, the backend by itself; rtl_engine.h, one engine to count the cycles of, for sim/calibrate; rtl_unit.h,
# the heads of a session on engines that the platform clocks, for sim/rtl_tiles.
TABLE = {
    IO: [],
    NUMERICS: ["hostlib/io/error.h"],
    ARCH: [IO, NUMERICS],
    BACKEND: [IO, ARCH, NUMERICS],
    "hostlib/ops/**": [IO, NUMERICS],
    "hostlib/model/**": [IO, *QUESTION, "hostlib/ops/**"],
    "hostlib/trace/**": [IO, *QUESTION],
    "hostlib/report/**": [IO, ARCH, *QUESTION],
    "hostlib/*": [IO, ARCH, BACKEND, "hostlib/model/**", "hostlib/trace/**", "hostlib/report/**"],
    "sim/memory/**": [IO, ARCH, BACKEND, NUMERICS],
    "sim/accelerator/**": [IO, ARCH, BACKEND, NUMERICS, "sim/memory/**"],
    "sim/*": [IO, ARCH, BACKEND, NUMERICS, "sim/accelerator/**", "sim/memory/**", "rtl/rtl_backend.h", "rtl/rtl_engine.h",
              "rtl/rtl_unit.h"],
    "sim/cli/**": [IO, "hostlib/run.h", "hostlib/arch/preset.h", "hostlib/backend/diagnose.h",
                   "hostlib/backend/fixed.h", "hostlib/backend/reference.h", "hostlib/report/gpu_reference.h",
                   "hostlib/report/heat_map.h", "hostlib/report/timeline.h", "hostlib/trace/random_vectors.h", "kernels/cuda_backend.h",
                   "kernels/cuda_model.h", "kernels/measure/measure.h",
                   "rtl/rtl_backend.h", "sim/calibrate.h", "sim/platform_tiles.h",
                   "sim/systemc_backend.h"],
    "rtl/bench/vectors_main.cc": [IO, ARCH, BACKEND, "hostlib/trace/**", "rtl/bench/**"],
    "rtl/bench/**": [IO, ARCH, BACKEND, NUMERICS, "hostlib/trace/random_vectors.h", "hostlib/trace/vectors.h"],
    "rtl/*": [IO, ARCH, BACKEND, "rtl/bench/**"],
    "kernels/attention/**": [IO, NUMERICS, *QUESTION, "kernels/device.h", "kernels/hopper.cuh"],
    # Dense work and softmax attention know pointers and shapes only; the network around the unit is a room of its own,
    # as it alone needs to know models.
    "kernels/dense/**": ["kernels/device.h", "kernels/hopper.cuh"],
    "kernels/softmax/**": ["kernels/device.h"],
    "kernels/model/**": [IO, *QUESTION, "hostlib/ops/**", "hostlib/model/**", "kernels/attention/**", "kernels/dense/**",
                         "kernels/softmax/**", "kernels/cuda_model.h", "kernels/device.h"],
    # What is measured ends up in a GPU reference file, on random vectors and seeded models: it uses the kernels' doors
    # and these of the trunk, and only the command line uses it.
    "kernels/measure/**": [IO, *QUESTION, "hostlib/model/config.h", "hostlib/report/gpu_reference.h",
                           "hostlib/trace/random_vectors.h", "kernels/attention/attention.h", "kernels/cuda_model.h",
                           "kernels/device.h"],
    "kernels/*": [IO, NUMERICS, ARCH, BACKEND, "hostlib/ops/**", "hostlib/model/runner.h", "kernels/attention/**"],
    "scripts/cmake/**": [],
    "scripts/*": [],
    "tests/**": ["hostlib/**", "kernels/**", "rtl/*", "rtl/bench/**", "sim/*", "sim/accelerator/**", "sim/memory/**"],
}

SUFFIXES = {".h", ".hpp", ".cuh", ".c", ".cc", ".cpp", ".cxx", ".cu"}
NOT_SOURCE = {".git", "build", "out"}
INCLUDE = re.compile(r'\s*#\s*include(?:_next)?\s*(?:"(?P<quoted>[^"]+)"|<(?P<angled>[^>]+)>|(?P<other>.*))')


def matches(pattern, path):
    expression = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, path) is not None


def room_of(path):
    return next((room for room in TABLE if matches(room, path)), None)


def listed(rooms):
    return ", ".join(rooms) if rooms else "nothing of the project"


def wrong(root, path, line):
    """What is wrong with this line of this file (relative to root), or None."""
    include = INCLUDE.match(line)
    if not include:
        return None
    if include["other"] is not None:
        return "an include names its file, in quotes or angle brackets"
    if include["angled"]:
        if (root / include["angled"]).exists():
            return f"<{include['angled']}>: includes of the project stand in quotes"
        return None
    target = include["quoted"]
    if ".." in target.split("/") or not (root / target).is_file():
        return f'"{target}": includes of the project start at the repository root and name a file there'
    room = room_of(path)
    if not matches(room, target) and not any(matches(allowed, target) for allowed in TABLE[room]):
        return f'"{target}": {room} may include {listed(TABLE[room])}'
    return None


def problems(root):
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root)
        if file.suffix not in SUFFIXES or NOT_SOURCE & set(path.parts[:-1]) or not file.is_file():
            continue
        if room_of(str(path)) is None:
            yield f"{path}:1: its folder is no room of the table in scripts/check_includes.py"
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            text = wrong(root, str(path), line)
            if text:
                yield f"{path}:{number}: {text}"


def main(arguments):
    if len(arguments) > 1 or arguments[:1] == ["--help"]:
        print("usage: check_includes.py [ROOT]", file=sys.stderr)
        return 2
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parents[1]).resolve()
    if not (root / "hostlib").is_dir():
        print(f"check_includes.py: {root}: expected the sources' root, with hostlib/ in it, got none", file=sys.stderr)
        return 2
    found = list(problems(root))
    for problem in found:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
