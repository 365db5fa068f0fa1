"""Time of a Core ML export on Linux, whole processes: conversion alone, and with everything that proves the package.

    python benchmarks/coreml_export.py [RUNS]

Conversion is capture to saved package without running it (`validate=False`). The other rows are the command line as a
user calls it, drift of the package and of its inner tensors included; int8 with 64 samples and no cached statistics.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import encoder
import numpy as np
from export_time import processor_seconds
from exports import export_command, seconds
from models import SPECS, onnx_model, samples
from tables import Line, table

RUNS = 3
_CALIBRATION = 64
_MOBILENET = "mobilenetv2_1000"
_CONVERT = """
import sys
from edgeport import export
export(sys.argv[1], target="coreml", precision="fp16", validate=False, out=sys.argv[2])
"""
_CONVERSION, _EXPORT = 3.0, 15.0
"""Targets in seconds of processor time."""


def _networks() -> dict[str, tuple[Path, Path]]:
    """Name -> ONNX file and folder of calibration samples."""
    return {
        "MobileNetV2": (onnx_model(_MOBILENET), samples(_CALIBRATION, SPECS[_MOBILENET].size)),
        "BERT-mini": (encoder.onnx_model(), encoder.calibration(_CALIBRATION)),
    }


def _commands(source: Path, calibration: Path) -> dict[str, tuple[float, Callable[[Path], list[str]]]]:
    """What is timed -> target, and the command that writes below a folder."""

    def validated(precision: str) -> Callable[[Path], list[str]]:
        return lambda out: export_command(source, precision, calibration, out, target="coreml")

    return {
        "conversion, fp16": (_CONVERSION, lambda out: [sys.executable, "-c", _CONVERT, str(source), str(out)]),
        "export, fp16": (_EXPORT, validated("fp16")),
        "export, int8": (_EXPORT, validated("int8")),
    }


def report(runs: int = RUNS) -> list[Line]:
    """Prints the times and returns the summary's lines."""
    rows, lines = [], []
    for name, (source, calibration) in _networks().items():
        for what, (limit, command) in _commands(source, calibration).items():
            walls, processor = [], []
            for _ in range(runs):
                with tempfile.TemporaryDirectory() as folder:
                    before = processor_seconds()
                    walls.append(seconds(command(Path(folder) / "out")))
                    processor.append(processor_seconds() - before)
            figure = float(np.median(processor))
            rows.append((f"{name}: {what}", f"{np.median(walls):.2f}", f"{figure:.2f}", f"{limit:.0f}"))
            lines.append(Line(f"Core ML {what}, {name}, processor s", f"< {limit:.0f}", f"{figure:.2f}"))
    print("\nCore ML, whole processes: medians")
    print(table(("process", "wall s", "processor s", "target s"), rows))
    return lines


if __name__ == "__main__":
    report(*map(int, sys.argv[1:]))
