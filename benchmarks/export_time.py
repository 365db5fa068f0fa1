"""Wall time of the whole command line: `edgeport export` of a MobileNetV2 to int8, and `edgeport --help`.

    python benchmarks/export_time.py [RUNS]             minimum and median
    python benchmarks/export_time.py --profile          one export in this process: the slowest functions

The model is MobileNetV2 1.0 with 1,000 classes; 64 images of 3x224x224 as .npz files; no cached statistics; the process
starts from nothing, as in a build pipeline. Its drift is measured as always.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from exports import EDGEPORT, export_command, seconds
from models import SPECS, onnx_model, samples
from tables import Line, table

MODEL = "mobilenetv2_1000"
RUNS = 5
_CALIBRATION = 64
_LINES = 45


def export_seconds(runs: int) -> list[float]:
    """Wall times of the export process."""
    source, calibration = onnx_model(MODEL), samples(_CALIBRATION, SPECS[MODEL].size)
    walls = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            walls.append(seconds(export_command(source, "int8", calibration, Path(folder) / "out")))
    return walls


def processor_seconds() -> float:
    """Processor time of all finished child processes so far: on a busy machine it says more than wall time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def help_seconds(runs: int) -> list[float]:
    """Wall times of `edgeport --help`."""
    return [seconds([*EDGEPORT, "--help"]) for _ in range(runs)]


def profile() -> None:
    """Prints the functions that take most of one export, by cumulative time; imports are part of it."""
    import cProfile
    import pstats

    with tempfile.TemporaryDirectory() as folder:
        source, calibration = onnx_model(MODEL), samples(_CALIBRATION, SPECS[MODEL].size)
        arguments = export_command(source, "int8", calibration, Path(folder) / "out")[len(EDGEPORT) :]
        profiler = cProfile.Profile()
        profiler.enable()
        from edgeport.cli.main import run

        code = run(arguments)
        profiler.disable()
    print(f"exit code {code}")
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(_LINES)


def report(runs: int = RUNS) -> list[Line]:
    """Prints the times and returns the summary's lines."""
    rows, lines = [], []
    for what, limit, count, measure in (
        ("edgeport export, int8, 64 samples", 8.0, runs, export_seconds),
        ("edgeport --help", 0.3, 4 * runs, help_seconds),
    ):
        before = processor_seconds()
        walls = measure(count)
        processor = (processor_seconds() - before) / count
        rows.append((what, f"{min(walls):.2f}", f"{np.median(walls):.2f}", f"{processor:.2f}", f"{limit:.1f}"))
        figure = f"{np.median(walls):.2f} (minimum {min(walls):.2f}, processor {processor:.2f})"
        lines.append(Line(f"{what}, s, median", f"< {limit:.1f}", figure))
    print(f"\nwall time of whole processes ({MODEL})")
    print(table(("process", "min s", "median s", "processor s", "target s"), rows))
    return lines


if __name__ == "__main__":
    if sys.argv[1:] == ["--profile"]:
        profile()
    else:
        report(*map(int, sys.argv[1:]))
