"""int8 files for TensorRT beside NVIDIA ModelOpt's: what is quantized, SQNR, task metric, and what the process takes.

    python benchmarks/tensorrt_int8.py [--modelopt PYTHON] [CASE ...]

Cases are those of accuracy.py. Both get the same float file and the same calibration samples and leave all that is not
int8 in float32; edgeport runs with its defaults, ModelOpt with either of its range methods. The files run in ONNX
Runtime as they are written. `dB` is the SQNR over all outputs, `each` that of every output; `agrees` is how often the
largest element of the first output is where it is in float. Conv, MatMul (Gemm as well) and Add are how many of them
read Q/DQ, `others` what else does. Seconds and MB are those of the whole process, for
edgeport with everything that it checks. PYTHON is one with ModelOpt (default: an environment in benchmarks/.cache).

The metric is taken on as many held-out samples as there are (scores.py), all files on the same ones, so that what ours
has more or less than theirs has an interval (paired.py): where 0 lies within, the two are equal as far as can be told.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import modelopt_files
import numpy as np
import paired
from accuracy import Case, cases
from exports import EDGEPORT
from peers import Skipped
from processes import Spent, spent
from qdq_file import quantized_nodes, run_as_written
from ranged import Run, float_run
from tables import Line, table

from edgeport.sample import Array, Sample

_EDGEPORT = "edgeport"
_COMPARED = 64
_HELD_OUT = 8
"""Samples that an export measures its drift on."""
_PRODUCTS = ("MatMul", "Gemm")
_MOBILENET = "mobilenetv2"
_SECONDS, _MEGABYTES = 8.0, 500.0
_EQUAL_DB = 0.05


@dataclass(frozen=True)
class Figures:
    """One file: SQNR in dB over all outputs and of each, share of largest elements in their place, nodes that read
    Q/DQ in words, what making it took."""

    sqnr: float
    each: tuple[float, ...]
    agrees: float
    nodes: tuple[str, str, str, str]
    spent: Spent


@dataclass(frozen=True)
class Compared:
    """A case: by tool the figures or why there is no file, and the metric."""

    found: Mapping[str, Figures | str]
    metrics: paired.Metrics


def measure(name: str, case: Case, python: Path | Skipped) -> Compared:
    """Lets every tool make its file, and runs them."""
    outputs, reference = float_run(case.model)
    held = case.held_out[:_COMPARED]
    wanted = [reference(sample) for sample in held]
    found: dict[str, Figures | str] = {}
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for tool, make in _tools(case, folder, python).items():
            try:
                path, took = make()
                run = run_as_written(path, outputs)
                got = [run(sample) for sample in held]
                each, total = _sqnr(wanted, got)
                found[tool] = Figures(total, each, _agreement(wanted, got), _nodes(path), took)
                runs[tool] = run
            except Exception as error:  # each tool and ONNX Runtime have their own ways to fail
                found[tool] = " ".join(str(error).split())[:200]
    return Compared(found, paired.metrics(name, case, {paired.FLOAT: reference, **runs}, _EDGEPORT))


def _tools(case: Case, folder: Path, python: Path | Skipped) -> dict[str, Callable[[], tuple[Path, Spent]]]:
    """Tool -> makes its file below a folder."""

    def ours() -> tuple[Path, Spent]:
        calibration = _saved(case.calibration, folder / "calibration")
        held = _saved(case.held_out[:_HELD_OUT], folder / "held_out")
        out = folder / "out"
        command = [
            *(*EDGEPORT, "export", case.model, "--target", "tensorrt", "--precision", "int8", "--out", out),
            *("--calib", calibration, "--data", held, "--allow-suspicious-data", "--no-cache", "--quiet"),
        ]
        took = spent(command)
        (path,) = (out / "tensorrt").glob("*.int8.onnx")
        return path, took

    def theirs(method: str) -> tuple[Path, Spent]:
        if isinstance(python, Skipped):
            raise RuntimeError(python.reason)
        samples, out = modelopt_files.stacked(case.calibration, folder / "calibration.npz"), folder / f"{method}.onnx"
        return out, modelopt_files.int8_file(python, case.model, samples, method, out)

    peers = {f"ModelOpt {method}": lambda method=method: theirs(method) for method in modelopt_files.METHODS}
    return {_EDGEPORT: ours, **peers}


def _saved(samples: Sequence[Sample], folder: Path) -> Path:
    folder.mkdir()
    for i, sample in enumerate(samples):
        np.savez(folder / f"{i:05d}.npz", **sample)
    return folder


def _sqnr(wanted: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> tuple[tuple[float, ...], float]:
    """In dB: of every output over all samples, and over all outputs."""
    powers = np.zeros((2, len(wanted[0])))
    for pair in zip(wanted, got, strict=True):
        for i, (a, b) in enumerate(zip(*pair, strict=True)):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            powers[:, i] += (a**2).sum(), ((a - b) ** 2).sum()
    with np.errstate(divide="ignore"):
        each, total = 10 * np.log10(powers[0] / powers[1]), 10 * np.log10(powers[0].sum() / powers[1].sum())
    return tuple(map(float, each)), float(total)


def _agreement(wanted: Sequence[Sequence[Array]], got: Sequence[Sequence[Array]]) -> float:
    same = [np.argmax(a[0], axis=-1) == np.argmax(b[0], axis=-1) for a, b in zip(wanted, got, strict=True)]
    return float(np.mean(same))


def _nodes(path: Path) -> tuple[str, str, str, str]:
    quantized, every = quantized_nodes(path)

    def share(*operators: str) -> str:
        return f"{sum(quantized[op] for op in operators)}/{sum(every[op] for op in operators)}"

    others = sorted((op, n) for op, n in quantized.items() if op not in ("Conv", "Add", *_PRODUCTS))
    return share("Conv"), share(*_PRODUCTS), share("Add"), ", ".join(f"{n} {op}" for op, n in others) or "-"


def report(names: Sequence[str] = (), given: Path | None = None) -> list[Line]:
    """Prints the tables of the cases named, or all, and returns the summary's lines."""
    python = modelopt_files.interpreter(given)
    rows, metrics, failed, lines = [], [], [], []
    for name, load in cases().items():
        if names and name not in names:
            continue
        compared = measure(name, load(), python)
        for tool, figures in compared.found.items():
            if isinstance(figures, str):
                failed.append(f"{name}, {tool}: {figures}")
                continue
            rows.append(_row(f"{name}, {tool}", figures))
        metrics += _metric_rows(name, compared.metrics)
        lines += _lines(name, compared)
        print(f"{name} done", file=sys.stderr, flush=True)
    print(f"\nint8 files for TensorRT beside {modelopt_files.VERSION}, in ONNX Runtime as they are written")
    print(
        table(
            ("file", "dB", "each", "agrees", "Conv", "MatMul", "Add", "others", "s", "processor s", "MB"),
            rows,
        )
    )
    print("\nmetric, and edgeport's minus ModelOpt's with its 95 % interval on the same samples")
    print(
        table(("case", "metric", "samples", "float", "edgeport", "beside", "theirs", "difference", "ours is"), metrics)
    )
    print("\n".join(failed))
    return lines


def _row(label: str, figures: Figures) -> tuple[str, ...]:
    return (
        label,
        f"{figures.sqnr:.1f}",
        " ".join(f"{db:.1f}" for db in figures.each),
        f"{figures.agrees:.3f}",
        *figures.nodes,
        f"{figures.spent.wall:.1f}",
        f"{figures.spent.processor:.1f}",
        f"{figures.spent.megabytes:.0f}",
    )


def _metric_rows(name: str, metrics: paired.Metrics) -> list[tuple[str, ...]]:
    ours = metrics.values.get(_EDGEPORT)
    start = (
        name,
        metrics.name,
        metrics.samples,
        f"{metrics.float_value:.4f}",
        "-" if ours is None else f"{ours:.4f}",
    )
    return [
        (*start, tool, f"{value:.4f}", *paired.words(metrics.beside.get(tool)))
        for tool, value in metrics.values.items()
        if tool not in (_EDGEPORT, paired.FLOAT)
    ]


def _lines(name: str, compared: Compared) -> list[Line]:
    ours, metrics = compared.found[_EDGEPORT], compared.metrics
    theirs = [figures for tool, figures in compared.found.items() if tool != _EDGEPORT]
    made = [figures for figures in theirs if isinstance(figures, Figures)]
    if isinstance(ours, str):
        return [Line(f"TensorRT int8, {name}", "", f"refused: {ours}"[:100])]
    best = f">= {max(one.sqnr for one in made) - _EQUAL_DB:.1f}" if made else ""
    figure = f"{metrics.values[_EDGEPORT]:.4f}, float {metrics.float_value:.4f}"
    for tool, value in metrics.values.items():
        if tool not in (_EDGEPORT, paired.FLOAT):
            figure += f"; {tool} {value:.4f}: {' '.join(paired.words(metrics.beside.get(tool)))}"
    lines = [
        Line(f"TensorRT int8, {name}: SQNR, dB, and ModelOpt's better one", best, f"{ours.sqnr:.1f}"),
        Line(f"TensorRT int8, {name}: {metrics.name}, {metrics.samples}", "not behind", figure),
    ]
    if name == _MOBILENET:
        took = "/".join(f"{one.spent.wall:.1f}" for one in made)
        held = "/".join(f"{one.spent.megabytes:.0f}" for one in made)
        seconds = f"{ours.spent.wall:.1f} (processor {ours.spent.processor:.1f}), ModelOpt {took}"
        lines += [
            Line("TensorRT int8 export, 64 samples, s", f"< {_SECONDS:.0f}", seconds),
            Line(
                "TensorRT int8 export, 64 samples, MB",
                f"< {_MEGABYTES:.0f}",
                f"{ours.spent.megabytes:.0f}, ModelOpt {held}",
            ),
        ]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--modelopt", type=Path, metavar="PYTHON")
    arguments = parser.parse_args()
    report(arguments.cases, arguments.modelopt)
