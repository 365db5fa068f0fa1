"""Size, SQNR and task metric of every precision for Apple's systems, beside float.

    python benchmarks/apple.py coreml [CASE | PRECISION ...]    packages, run by edgeport's evaluator (not by Core ML)
    python benchmarks/apple.py coreai [CASE | PRECISION ...]    assets, run by coreai-core's own runtime

Cases are those of accuracy.py. One calibration serves all precisions. `worst` is the largest difference to ONNX
Runtime over the largest magnitude of that output, over the first held-out samples, as SQNR is.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy import Case, cases
from ranged import Run, float_run
from tables import Line, table

from edgeport import api
from edgeport.errors import EdgeportError
from edgeport.preparation import prepare
from edgeport.sample import Array
from edgeport.targets.contract import Artifact
from edgeport.targets.registry import load_target

_COMPARED = 32
_ONE_POINT = 0.01


@dataclass(frozen=True)
class Figures:
    """One artifact: bytes on disk, SQNR in dB, largest relative difference, metric."""

    size: int
    sqnr: float
    worst: float
    metric: float


def measure(case: Case, target: str, precisions: Sequence[str]) -> tuple[str, float, dict[str, Figures | str]]:
    """The metric's name, its value in float, and per precision the figures or why it was refused."""
    outputs, reference = float_run(case.model)
    name, value = next(iter(case.metric(reference).items()))
    found: dict[str, Figures | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        statistics = Path(folder) / "statistics.safetensors"
        api.calibrate(
            str(case.model),
            calib=list(case.calibration),
            target=target,
            out=statistics,
            allow_suspicious_data=True,
            cache=False,
        )
        for precision in precisions:
            out = Path(folder) / precision
            try:
                path = Path(
                    api.export(
                        str(case.model),
                        target=target,
                        precision=precision,
                        statistics=statistics,
                        validate=False,
                        out=out,
                        cache=False,
                    ).artifacts[target]
                )
            except EdgeportError as error:
                found[precision] = str(error)
                continue
            run = artifact_run(case.model, target, path, outputs)
            pairs = [(reference(s), run(s)) for s in case.held_out[:_COMPARED]]
            sqnr, worst = distance(pairs)
            size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
            found[precision] = Figures(size, sqnr, worst, case.metric(run)[name])
    return name, value, found


def artifact_run(model: Path, target: str, path: Path, outputs: Sequence[str]) -> Run:
    canonical = prepare(str(model)).canonical
    runner = load_target(target).runner(Artifact(target, "", path, ()), canonical)

    def run(sample: dict[str, Array]) -> Sequence[Array]:
        results = runner.run({key: np.asarray(array) for key, array in sample.items()})
        return [results[name] for name in outputs]

    return run


def distance(pairs: Sequence[tuple[Sequence[Array], Sequence[Array]]]) -> tuple[float, float]:
    """SQNR in dB over all outputs, and the largest difference relative to the largest magnitude of its output."""
    signal = noise = worst = 0.0
    for wanted, got in pairs:
        for a, b in zip(wanted, got, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            signal, noise = signal + float((a**2).sum()), noise + float(((a - b) ** 2).sum())
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-9)))
    return float("inf") if noise == 0 else 10 * np.log10(signal / noise), worst


def report(target: str, names: Sequence[str] = ()) -> list[Line]:
    """Prints the table of the cases and precisions named, or all, and returns the summary's lines."""
    rows, lines = [], []
    known = load_target(target).precisions
    precisions = [p for p in names if p in known] or known
    wanted = [n for n in names if n not in known]
    for name, load in cases().items():
        if wanted and name not in wanted:
            continue
        try:
            metric, value, found = measure(load(), target, precisions)
        except EdgeportError as error:
            print(f"{name} refused: {error}")
            continue
        for precision, figures in found.items():
            if isinstance(figures, str):
                print(f"{name} {precision} refused: {figures}")
                continue
            rows.append(
                (
                    f"{name} {precision}",
                    f"{figures.size / 1000:.1f}",
                    f"{figures.sqnr:.1f}",
                    f"{figures.worst:.1e}",
                    f"{figures.metric:.4f}",
                    f"{metric} {value:.4f}",
                )
            )
            if precision in ("fp16", "int8"):
                figure = f"{figures.metric:.4f} / {value:.4f} ({figures.sqnr:.1f})"
                lines.append(Line(f"{target} {name}: {metric} {precision} / float (SQNR dB)", "", figure))
        print(f"{name} done", file=sys.stderr, flush=True)
    print(f"\n{target}: size, SQNR and metric by precision")
    print(table(("case", "kB", "SQNR dB", "worst", "metric", "float"), rows))
    return lines


if __name__ == "__main__":
    report(sys.argv[1], sys.argv[2:])
