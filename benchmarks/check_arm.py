"""Runs emitted files on emulated ARM cores and compares the outputs with this machine's: `make check-arm`.

    python benchmarks/check_arm.py [FILE.tflite|FILE.onnx|FILE.ort|FILE.pte|FILE.ptl ...]

Without arguments it exports files of its own (arm_models.py) with every target that is here, and single operators for
qnnpack (arm_operators.py), whose outputs on ARM are compared with the numpy reference of a phone. With arguments it
takes files of an export, with the golden inputs that lie beside them. The runtimes' aarch64 wheels run under qemu's
user-mode emulation, with an ARM Python that is unpacked into benchmarks/.cache/arm (once: about 60 MB down, and 15 to
160 MB a runtime, see arm_runtimes.py). Exit code 1 where outputs differ by more than is allowed, 0 where they agree or
where the pieces cannot be had ("skipped: ..." says which). Times under emulation mean nothing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from arm_files import compare
from arm_golden import copy_exported, golden_of
from arm_machine import CORES, Machine, Unavailable, arm_machine
from arm_models import emit_files
from arm_operators import write_operators
from arm_runtimes import RUNTIMES, Runtime, packages
from commands import failure
from tables import table

from edgeport.errors import EdgeportError, ToolchainError, UsageError
from edgeport.targets.registry import load_target, require_toolchain

_CACHE = Path(__file__).parent / ".cache" / "arm"
_WORKER = Path(__file__).with_name("arm_worker.py")
_MINUTES = 10
_DIFFERS = "DIFFERS"


def main(artifacts: Sequence[Path]) -> int:
    suffixes = [suffix for runtime in RUNTIMES for suffix in runtime.suffixes]
    for path in artifacts:
        if path.suffix not in suffixes:
            print(f"{path}: give files that end in {', '.join(suffixes)}")
            return 1
        if not golden_of(path).exists():
            print(f"{golden_of(path)} is not there; give files as `edgeport export` writes them")
            return 1
    try:
        machine = arm_machine(_CACHE)
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    rows: list[tuple[str, ...]] = []
    for runtime in RUNTIMES:
        own = [path for path in artifacts if path.suffix in runtime.suffixes]
        if own or not artifacts:
            rows += _checked(machine, runtime, own)
    if not rows:
        return 0
    print(table(("target", "core", "file", "beside", "allowed", "figure", ""), rows))
    agree = all(row[-1] != _DIFFERS for row in rows)
    print("every file agrees" if agree else "some files differ by more than is allowed")
    return 0 if agree else 1


def _checked(machine: Machine, runtime: Runtime, artifacts: Sequence[Path]) -> list[tuple[str, ...]]:
    """The table's rows for one runtime; none, and a line that says why, where it is skipped."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "files"
        folder.mkdir()
        try:
            require_toolchain(load_target(runtime.target))
            wheels = packages(_CACHE, runtime)
        except (Unavailable, ToolchainError, UsageError) as reason:
            print(f"skipped: {runtime.target}: {reason}")
            return []
        try:
            if artifacts:
                named = zip(artifacts, _names(artifacts), strict=True)
                files = [file for path, name in named for file in copy_exported(path, name, runtime, folder)]
            else:
                files = emit_files(runtime, folder, work / "scratch")
                files += write_operators(folder) if runtime.target == "qnnpack" else ()
        except EdgeportError as error:
            return [(runtime.target, "", "", "", "", str(error), _DIFFERS)]
        rows: list[tuple[str, ...]] = []
        here = work / "here.npz"
        failed = failure([sys.executable, _WORKER, runtime.target, folder, here], _MINUTES)
        if failed:
            return [(runtime.target, "this machine", "", "", "", failed, _DIFFERS)]
        for core in CORES:
            if runtime.lacking(core):
                rows.append((runtime.target, core.name, "", "", "", "skipped: its wheel takes a newer core", ""))
                continue
            there = work / f"{core.name}.npz"
            try:
                machine.run(core, wheels, _WORKER, runtime.target, folder, there)
            except RuntimeError as error:
                rows.append((runtime.target, core.name, "", "", "", str(error), _DIFFERS))
                continue
            outputs, arm = dict(np.load(here)), dict(np.load(there))
            for file in files:
                figure, fits = compare(file, outputs, arm)
                verdict = "ok" if fits else _DIFFERS
                rows.append((runtime.target, core.name, file.name, file.beside, file.allowed, figure, verdict))
        return rows


def _names(artifacts: Sequence[Path]) -> list[str]:
    """Their names without endings; whole paths where several have one."""
    stems = [path.stem for path in artifacts]
    return [
        stem if stems.count(stem) == 1 else "-".join(path.with_suffix("").parts).lstrip("/-")
        for path, stem in zip(artifacts, stems, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
