"""Every model through the qnnpack, executorch and onnxruntime targets by one command: SQNR, metric beside float, size.

    python benchmarks/runtimes.py [CASE | PRECISION | TARGET ...]

Cases are those of accuracy.py; without precisions int8. One `edgeport export` a case and precision calibrates once and
writes all files. `dB` and `kernels dB` are the report's SQNR of the worst output, over the held-out samples that the
export is given; the metric is that of the file in its own runtime over all samples of the case (.ptl: engine qnnpack).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accuracy import Case, cases
from apple import artifact_run
from exports import EDGEPORT
from ranged import float_run
from tables import Line, table

from edgeport.sample import Sample

TARGETS = ("qnnpack", "executorch", "onnxruntime")
PRECISIONS = ("fp32", "int8", "int8-dynamic", "int4-weights")
_HELD_OUT = 8
_SUFFIXES = (".ptl", ".pte", ".onnx")


@dataclass(frozen=True)
class Figures:
    """One file: verdict, worst output's SQNR in dB of the kernels rung and in all, metric, bytes."""

    verdict: str
    kernels: str
    total: str
    metric: float
    size: int


def measure(case: Case, targets: Sequence[str], precision: str) -> tuple[str, float, dict[str, Figures | str]]:
    """The metric's name, its value in float, and per target the figures or what the export said."""
    outputs, reference = float_run(case.model)
    name, value = next(iter(case.metric(reference).items()))
    found: dict[str, Figures | str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        out = folder / "out"
        command = [
            *(*EDGEPORT, "export", case.model, "--target", ",".join(targets), "--precision", precision),
            *("--calib", _saved(case.calibration, folder / "calibration"), "--allow-suspicious-data", "--no-cache"),
            *("--data", _saved(case.held_out[:_HELD_OUT], folder / "held_out"), "--quiet", "--out", out),
        ]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if not (out / "report.json").exists():
            return name, value, dict.fromkeys(targets, " ".join(done.stderr.split())[-300:])
        written = json.loads((out / "report.json").read_text(encoding="utf-8"))["targets"]
        for target in targets:
            said = next(one for one in written if one["target"] == target)
            files = [path for path in sorted((out / target).glob("*")) if path.suffix in _SUFFIXES]
            if said["ladder"] is None or not files:
                found[target] = f"{said['status']}: {said['findings'][:1]}"
                continue
            metric = case.metric(artifact_run(case.model, target, files[0], outputs))[name]
            rungs = {rung["name"]: rung["outputs"] for rung in said["ladder"]["rungs"]}
            worst = [_worst(rungs[rung]) for rung in ("kernels", "total")]
            found[target] = Figures(said["verdict"], *worst, metric, files[0].stat().st_size)
    return name, value, found


def report(words: Sequence[str] = ()) -> list[Line]:
    """Prints the table of what is named, or all in int8, and returns the summary's lines."""
    targets = [word for word in words if word in TARGETS] or TARGETS
    precisions = [word for word in words if word in PRECISIONS] or ("int8",)
    wanted = set(words) - {*TARGETS, *PRECISIONS}
    rows, lines = [], []
    for case, load in cases().items():
        if wanted and case not in wanted:
            continue
        for precision in precisions:
            metric, value, found = measure(load(), targets, precision)
            for target, figures in found.items():
                if isinstance(figures, str):
                    print(f"{case} {target} {precision}: {figures}")
                    continue
                shown = (f"{figures.metric:.4f}", f"{metric} {value:.4f}", f"{figures.metric - value:+.4f}")
                size = f"{figures.size / 1000:.0f}"
                rows.append(
                    (f"{case} {target} {precision}", *shown, figures.total, figures.kernels, size, figures.verdict)
                )
                drop = abs(figures.metric - value)
                lines.append(Line(f"{target} {case}: {metric} {precision} beside float", "<= 0.01", f"{drop:.4f}"))
        print(f"{case} done", file=sys.stderr, flush=True)
    print(table(("file", "metric", "float", "", "dB", "kernels dB", "kB", "verdict"), rows))
    return lines


def _saved(samples: Sequence[Sample], folder: Path) -> Path:
    folder.mkdir()
    for i, sample in enumerate(samples):
        np.savez(folder / f"{i:05d}.npz", **sample)
    return folder


def _worst(outputs: Sequence[dict[str, Any]]) -> str:
    found = [one["sqnr_db"] for one in outputs if one["sqnr_db"] is not None]
    return f"{min(found):.1f}" if found else "equal"


if __name__ == "__main__":
    report(sys.argv[1:])
