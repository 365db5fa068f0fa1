"""Runs emitted .tflite files on emulated ARM cores and compares the outputs with this machine's: `make check-arm`.

    python benchmarks/check_arm.py [FILE.tflite ...]

Without arguments it exports files of its own (arm_models.py); with them it takes files of an export, with the golden
inputs that lie beside them. LiteRT's aarch64 wheel runs under qemu's user-mode emulation, with an ARM Python that is
unpacked into benchmarks/.cache/arm (once, about 100 MB down). Exit code 1 where outputs differ by more than is allowed,
0 where they agree or where the pieces cannot be had ("skipped: ..." says which). Times under emulation mean nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from arm_machine import CORES, Unavailable, arm_machine
from arm_models import Emitted, copy_exported, emit_files, golden_of
from tables import table

_CACHE = Path(__file__).parent / ".cache" / "arm"
_WORKER = Path(__file__).with_name("arm_worker.py")


def main(artifacts: list[Path]) -> int:
    try:
        machine = arm_machine(_CACHE)
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    bare = [path for path in artifacts if not golden_of(path).exists()]
    if bare:
        print(f"{golden_of(bare[0])} is not there; give files as `edgeport export` writes them")
        return 1
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files, scratch = work / "files", work / "scratch"
        files.mkdir()
        scratch.mkdir()
        compared = [copy_exported(path, files) for path in artifacts] or emit_files(files, scratch)
        subprocess.run([sys.executable, _WORKER, files, work / "host.npz"], check=True, stderr=subprocess.PIPE)
        host = dict(np.load(work / "host.npz"))
        rows, agree = [], True
        for core in CORES:
            try:
                machine.run(core, _WORKER, files, work / f"{core.name}.npz")
            except RuntimeError as error:
                print(error)
                return 1
            arm = dict(np.load(work / f"{core.name}.npz"))
            for file in compared:
                figure, fits = _compare(file, host, arm)
                agree &= fits
                rows.append((core.name, file.name, _allowed(file), figure, "ok" if fits else "DIFFERS"))
    print(table(("core", "file", "allowed", "beside x86-64", ""), rows))
    print("every file agrees" if agree else "some files differ from x86-64 by more than is allowed")
    return 0 if agree else 1


def _compare(file: Emitted, host: dict[str, np.ndarray], arm: dict[str, np.ndarray]) -> tuple[str, bool]:
    """The distance of all outputs of a file in words, and whether it is allowed."""
    keys = [key for key in host if key.startswith(f"{file.name}/")]
    if not keys or {key for key in arm if key.startswith(f"{file.name}/")} != set(keys):
        return "other outputs", False
    size = sum(host[key].nbytes for key in keys)
    if all(host[key].tobytes() == arm[key].tobytes() for key in keys):
        return f"identical ({size} bytes)", True
    pairs = [(host[key].astype(np.float64), arm[key].astype(np.float64)) for key in keys]
    noise = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
    ratio = 10 * np.log10(sum(float((a**2).sum()) for a, _ in pairs) / noise) if noise else np.inf
    largest = max(float(np.abs(a - b).max()) for a, b in pairs)
    return f"{ratio:.1f} dB, largest {largest:.1e}", file.least_db is not None and bool(ratio >= file.least_db)


def _allowed(file: Emitted) -> str:
    return "identical" if file.least_db is None else f">= {file.least_db:.0f} dB"


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
