"""Wall time of the whole command line: `edgeport export` of a MobileNetV2 to int8, and `edgeport --help`.

    python benchmarks/export_time.py [RUNS]             minimum and median
    python benchmarks/export_time.py --profile          one export in this process: the slowest functions
    python benchmarks/export_time.py --phones [RUNS]    CNN and encoder to three runtimes, see below

The model is MobileNetV2 1.0 with 1,000 classes; 64 images of 3x224x224 as .npz files; no cached statistics; the process
starts from nothing, as in a build pipeline. Its drift is measured as always. Python may keep
bytecode, which pip makes when it installs.

--phones says three times for each what an export takes, drift and report included: as a process with 64 samples, as a
process with ready statistics (`--statistics`, eight held-out samples), and such an export as a call within a process
that has made one before. Processor time is user and system time of all threads.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from exports import EDGEPORT, export_command, seconds
from models import SPECS, onnx_model, samples
from processes import spent
from tables import Line, table

MODEL = "mobilenetv2_1000"
RUNS = 5
_CALIBRATION = 64
_HELD = 8
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


def phones(runs: int = RUNS) -> None:
    """Prints wall and processor time of exports for phones: the shortest of each."""
    import encoder

    given = {"mobilenetv2": (onnx_model("mobilenetv2"), samples(_CALIBRATION, SPECS["mobilenetv2"].size))}
    given["bert_mini"] = (encoder.onnx_model(), encoder.calibration(_CALIBRATION))
    rows = []
    for name, (source, calibration) in given.items():
        for target in ("qnnpack", "onnxruntime", "executorch"):
            with tempfile.TemporaryDirectory() as folder:
                out, held = Path(folder) / "out", Path(folder) / "held"
                held.mkdir()
                for file in sorted(calibration.iterdir())[:_HELD]:
                    (held / file.name).symlink_to(file.resolve())
                command = export_command(source, "int8", calibration, out, target=target)
                rows.append((name, target, "process, 64 samples", *_shortest(command, runs)))
                statistics = Path(folder) / "statistics.safetensors"
                ready = ["--data", str(held)]
                if (out / statistics.name).exists():  # else the precision needs none for this model
                    (out / statistics.name).rename(statistics)
                    ready += ["--statistics", str(statistics)]
                command = export_command(source, "int8", None if len(ready) > 2 else calibration, out, ready, target)
                rows.append((name, target, "process, ready statistics", *_shortest(command, runs)))
                code = [sys.executable, "-c", _WITHIN, str(runs), *command[len(EDGEPORT) :]]
                said = subprocess.run(code, check=True, capture_output=True, text=True).stdout.split()
                rows.append((name, target, "call, ready statistics", *said[-2:]))
    print(table(("model", "target", "export", "processor s", "wall s"), rows))


_WITHIN = """
import sys, time
from edgeport.cli.main import run
took = []
for _ in range(int(sys.argv[1]) + 1):
    start = time.process_time(), time.perf_counter()
    assert run(sys.argv[2:]) == 0
    took.append((time.process_time() - start[0], time.perf_counter() - start[1]))
print(*(f"{min(one):.2f}" for one in zip(*took[1:])))
"""


def _shortest(command: list[str], runs: int) -> tuple[str, str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    took = [spent(command, environment) for _ in range(runs + 1)][1:]  # the first one may write bytecode
    return f"{min(one.processor for one in took):.2f}", f"{min(one.wall for one in took):.2f}"


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
    elif sys.argv[1:2] == ["--phones"]:
        phones(*map(int, sys.argv[2:]))
    else:
        report(*map(int, sys.argv[1:]))
