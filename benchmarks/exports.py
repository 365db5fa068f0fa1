"""edgeport's own files, made as a user makes them: by the command line, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from models import CACHE
from processes import Spent, spent

_PYTHON = sys.executable
EDGEPORT = (_PYTHON, "-m", "edgeport")


def export_command(
    source: Path,
    precision: str,
    calibration: Path | None,
    out: Path,
    options: Sequence[str] = (),
    target: str = "tflite",
) -> list[str]:
    """The command that exports a model, without the cache of statistics."""
    command = [
        *EDGEPORT,
        "export",
        str(source),
        "--target",
        target,
        "--precision",
        precision,
        "--no-cache",
        "--quiet",
        *options,
    ]
    return [*command, "--out", str(out), *(["--calib", str(calibration)] if calibration else [])]


def edgeport_file(source: Path, precision: str, calibration: Path | None, *options: str) -> Path:
    """The .tflite file of a fresh export with further command line options, kept below benchmarks/.cache."""
    out = CACHE / "edgeport" / "-".join([source.stem, precision, *(o.removeprefix("--") for o in options)])
    out.parent.mkdir(parents=True, exist_ok=True)
    seconds(export_command(source, precision, calibration, out, options))
    (path,) = (out / "tflite").glob("*.tflite")
    return path


def target_file(target: str, source: Path, precision: str, calibration: Path | None) -> tuple[Path, Spent]:
    """The first file of a fresh export for a target, kept below benchmarks/.cache, and what the process took.

    Raises:
        RuntimeError: there is no such target here, or it refuses the model; the message is what it said last.
    """
    out = CACHE / "edgeport" / "-".join([source.stem, target, precision])
    out.parent.mkdir(parents=True, exist_ok=True)
    took = spent(export_command(source, precision, calibration, out, target=target))
    files = sorted(path for path in (out / target).iterdir() if path.suffix in (".ptl", ".pte", ".onnx"))
    return files[0], took


def seconds(command: list[str]) -> float:
    """Wall time of a whole process.

    Raises:
        RuntimeError: it failed; the message is what it said last.
    """
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        code = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT).returncode
        wall = time.perf_counter() - start
        said.seek(0)
        if code:
            raise RuntimeError(f"exit code {code}: {said.read().strip()[-500:]}")
    return wall
