"""Files for qnnpack, ExecuTorch and ONNX Runtime beside those of PyTorch's and ONNX Runtime's own quantization.

    python benchmarks/mobile_peers.py [ROUNDS] [MODEL ...]

Models: CNN (MobileNetV2) and encoder (BERT-mini), the same weights, the same calibration samples. PyTorch's FX graph
mode makes .ptl, pt2e with XNNPACK's quantizer makes .pte, ONNX Runtime's quantize_static makes .onnx; each in what its
defaults quantize and, where that costs the encoder its accuracy, in linear layers and products only. Each file runs in
its own runtime on one thread, .ptl with engine qnnpack. `ms` is the shortest of all rounds, which files take in turns
(turns.py); the summary has the median of the ratios within the rounds as well. `speed` is over the float file of the
same maker or, where it makes none, of the same runtime. Drift is that of 64 held-out samples against ONNX Runtime's
float. Seconds are those of the whole process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from mobile_files import MobileFile
from mobile_models import Model, models
from mobile_tools import FX, ORT, OURS, PT2E, File, Tool, files
from peers import Skipped
from processes import Spent
from tables import Line, table
from tflite_file import Floats, sqnr
from turns import take_turns

ROUNDS = 100
_SPEED = {
    ("encoder", "executorch"): 2.2,
    ("encoder", "onnxruntime"): 1.9,
    ("CNN", "executorch"): 1.5,
    ("CNN", "onnxruntime"): 1.5,
}
_SECONDS = {"qnnpack": 2.0, "executorch": 12.0, "onnxruntime": 2.0}
_PEERS = {"qnnpack": FX, "executorch": PT2E, "onnxruntime": ORT}
_QNNPACK_LATENCY = 1.05
_EQUAL_DB = 0.05


@dataclass(frozen=True)
class Row:
    """One file's figures: seconds of each round, drift in dB, metric, bytes, what making it took."""

    tool: Tool
    seconds: tuple[float, ...]
    sqnr: float
    metric: float
    size: int
    spent: Spent | None

    @property
    def milliseconds(self) -> float:
        return min(self.seconds) * 1e3


def measure(model: Model, rounds: int) -> tuple[list[Row], list[str]]:
    """Rows of all files that run, and a line for each that could not be made or run."""
    reference = MobileFile(model.source)
    wanted = np.stack([reference.run(sample) for sample in model.compared])
    rows: dict[Tool, tuple[File, float, float]] = {}
    failed = []
    for tool, made in files(model).items():
        if isinstance(made, Skipped):
            failed.append(f"skipped {model.name}, {tool.label}: {made.reason}")
            continue
        try:
            rows[tool] = (made, *_figures(model, made, wanted))
        except Exception as error:  # each runtime has its own ways to fail
            failed.append(f"{model.name}, {tool.label} does not run: {' '.join(str(error).split())[:200]}")
    openers = {tool.label: partial(MobileFile, made.path) for tool, (made, *_) in rows.items()}
    times = take_turns(openers, model.compared[0], rounds)
    return [
        Row(tool, times[tool.label], drift, metric, made.path.stat().st_size, made.spent)
        for tool, (made, drift, metric) in rows.items()
    ], failed


def _figures(model: Model, made: File, wanted: Floats) -> tuple[float, float]:
    file = MobileFile(made.path)
    got = np.stack([file.run(sample) for sample in model.compared])
    return sqnr(wanted * model.counted, got * model.counted), model.judge(file.run)


def _float_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The float file that a file's speed is over: its maker's, or the source in the same runtime."""
    found = [r for r in rows if r.tool.target == row.tool.target and r.tool.precision == "fp32"]
    same = [r for r in found if r.tool.maker == row.tool.maker]
    return next(iter(same or found), None)


def _times(one: Row, other: Row) -> str:
    """How many times as long one takes as another: the shortest of each, and the median within the rounds."""
    rounds = np.median(np.array(one.seconds) / np.array(other.seconds))
    return f"{one.milliseconds / other.milliseconds:.3f} (within rounds {rounds:.3f})"


def _speed(row: Row, rows: Sequence[Row]) -> float | None:
    base = _float_of(row, rows)
    return None if base is None else base.milliseconds / row.milliseconds


def report(rounds: int = ROUNDS, names: Sequence[str] = ()) -> list[Line]:
    """Prints a table for every model named, or all, and returns the summary's lines."""
    lines = []
    for name, load in models().items():
        if names and name not in names:
            continue
        model = load()
        rows, failed = measure(model, rounds)
        print(f"\n{name} for phones, one thread, shortest of {rounds} rounds in turns; {model.metric} on held-out data")
        print(table(("file", "ms", "speed", "SQNR dB", model.metric, "MB", "s", "processor s"), _cells(rows)))
        print("\n".join(failed))
        lines += _lines(name, rows, failed)
    return lines


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        speed = _speed(row, rows)
        cells.append(
            (
                row.tool.label,
                f"{row.milliseconds:.2f}",
                "-" if speed is None else f"{speed:.2f}",
                f"{row.sqnr:.1f}",
                f"{row.metric:.4f}",
                f"{row.size / 1e6:.2f}",
                "-" if row.spent is None else f"{row.spent.wall:.1f}",
                "-" if row.spent is None else f"{row.spent.processor:.1f}",
            )
        )
    return cells


def _lines(name: str, rows: Sequence[Row], failed: Sequence[str]) -> list[Line]:
    lines = []
    for target, maker in _PEERS.items():
        ours = next(
            (r for r in rows if (r.tool.maker, r.tool.target, r.tool.precision) == (OURS, target, "int8")), None
        )
        if ours is None:
            why = next((line for line in failed if f"{OURS} {target} int8" in line), "no file")
            lines.append(Line(f"{name}: {target} int8", "", why[:100]))
            continue
        theirs = [r for r in rows if (r.tool.maker, r.tool.precision) == (maker, "int8")]
        base, wanted = _float_of(ours, rows), _SPEED.get((name, target))
        if base is not None and wanted is not None:
            lines.append(Line(f"{name}: {target} int8 speed over our float", f">= {wanted}", _times(base, ours)))
        lines += _beside(f"{name}: {target} int8", ours, theirs) if theirs else []
        if ours.spent is not None:
            took = f"{ours.spent.wall:.1f} (processor {ours.spent.processor:.1f})"
            lines.append(Line(f"{name}: {target} int8 export, whole process, s", f"< {_SECONDS[target]:.0f}", took))
    return lines


def _beside(what: str, ours: Row, theirs: Sequence[Row]) -> list[Line]:
    """SQNR beside the best of theirs; latency beside that and the fastest, which may be another."""
    best, fastest = max(theirs, key=lambda r: r.sqnr), min(theirs, key=lambda r: r.milliseconds)
    target = f"<= {_QNNPACK_LATENCY}" if ours.tool.target == "qnnpack" else ""
    return [
        Line(f"{what} SQNR, dB ({best.tool.label})", f">= {best.sqnr - _EQUAL_DB:.1f}", f"{ours.sqnr:.1f}"),
        *(
            Line(f"{what} latency / {which} peer's ({row.tool.label})", target, _times(ours, row))
            for which, row in {"most accurate": best, "fastest": fastest}.items()
        ),
    ]


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:] if word.isdigit()]
    named = [word for word in sys.argv[1:] if not word.isdigit()]
    for line in report(given[0] if given else ROUNDS, named):
        print(f"{line.what}: {line.figure} (target {line.target or 'none'})")
