"""What the choice of ranges costs: task metric and SQNR of int8 files in LiteRT beside float, for every range method.

    python benchmarks/accuracy.py [CASE ...]

Cases: the models of models.py that were trained, on images of their task; and, where the environment variable
EDGEPORT_BENCH (or ../shared/bench beside the repository) names a folder with a bench.py, its real models. Such a file
has CASES: name -> function giving an object with model (path), calibration and held_out (lists of mappings), metric
(a function of `run`, which maps named arrays to a list of output arrays) and higher_is_better.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from models import INPUT, SPECS, held_out, onnx_model, samples
from ranged import METHODS, Run, float_run, int8_files, int8_run
from tables import Line, table
from tflite_file import sqnr

from edgeport.errors import EdgeportError
from edgeport.exporting import DEFAULT_RANGES
from edgeport.sample import Array, Sample

_CALIBRATION, _HELD_OUT, _SQNR_SAMPLES = 64, 512, 128
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    """A float model, samples to calibrate on, samples to measure SQNR on, and the metric of its task."""

    model: Path
    calibration: Sequence[Sample]
    held_out: Sequence[Sample]
    metric: Callable[[Run], Mapping[str, float]]


@dataclass(frozen=True)
class Figures:
    """One case: the metric in float and, for every method, the metric and the SQNR in dB of the int8 file."""

    metric: str
    float_value: float
    int8: Mapping[str, tuple[float, float]]


def measure(case: Case) -> Figures:
    """Calibrates once, then writes, runs and judges one int8 file for every range method.

    Raises:
        EdgeportError: the model is refused.
    """
    held = case.held_out[:_SQNR_SAMPLES]
    outputs, run = float_run(case.model)
    reference, metrics = _outputs(run, held), case.metric(run)
    name, float_value = next(iter(metrics.items()))
    int8: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method, path in int8_files(case.model, case.calibration, Path(folder)).items():
            run = int8_run(path, outputs)
            int8[method] = (case.metric(run)[name], sqnr(reference, _outputs(run, held)))
    return Figures(name, float_value, int8)


def cases() -> dict[str, Callable[[], Case]]:
    """The trained models of models.py, and those of the bench folder where there is one."""
    own: dict[str, Callable[[], Case]] = {n: _made(n) for n, spec in SPECS.items() if spec.phases}
    bench = _bench()
    if bench is None:
        print("skipped the real models: no bench.py in EDGEPORT_BENCH or ../shared/bench")
        return own
    return {**own, **bench}


def _made(name: str) -> Callable[[], Case]:
    def load() -> Case:
        size = SPECS[name].size
        images, labels = held_out(_HELD_OUT, size)
        inputs: list[Sample] = [{INPUT: image[None]} for image in images]
        calibration: list[Sample] = [dict(np.load(p)) for p in sorted(samples(_CALIBRATION, size).iterdir())]

        def top1(run: Run) -> dict[str, float]:
            guesses = np.array([run(sample)[0].argmax() for sample in inputs])
            return {"top1": float((guesses == labels).mean())}

        return Case(onnx_model(name), calibration, inputs, top1)

    return load


def bench_folder() -> Path | None:
    """Where the real models are, None where there are none."""
    named = os.environ.get("EDGEPORT_BENCH")
    folder = Path(named) if named else _HERE.parent.parent / "shared" / "bench"
    return folder if (folder / "bench.py").exists() else None


def _bench() -> Mapping[str, Callable[[], Case]] | None:
    folder = bench_folder()
    spec = None if folder is None else importlib.util.spec_from_file_location("edgeport_bench", folder / "bench.py")
    if spec is None or spec.loader is None:
        return None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found: Mapping[str, Callable[[], Case]] = module.CASES
    return found


def _outputs(run: Run, held: Sequence[Sample]) -> Array:
    return np.concatenate([np.ravel(array) for sample in held for array in run(sample)])


def report(names: Sequence[str] = ()) -> list[Line]:
    """Prints the table of cases and returns the summary's lines."""
    rows, refused, lines = [], [], []
    for name, load in cases().items():
        if names and name not in names:
            continue
        try:
            figures = measure(load())
        except EdgeportError as error:
            refused.append(f"{name} refused: {error}")
            continue
        cells = [f"{value:.4f} {db:6.1f}" for value, db in figures.int8.values()]
        rows.append((name, f"{figures.metric} {figures.float_value:.4f}", *cells))
        value, db = figures.int8[DEFAULT_RANGES]
        lines.append(
            Line(
                f"{name}: {figures.metric} int8 / float (SQNR dB)",
                "",
                f"{value:.4f} / {figures.float_value:.4f} ({db:.1f})",
            )
        )
    print("\nmetric and SQNR (dB against ONNX Runtime float) of int8 files in LiteRT, by range method")
    print(table(("case", "float", *METHODS), rows))
    print("\n".join(refused))
    return lines


if __name__ == "__main__":
    report(sys.argv[1:])
