"""Every real model for every Jetson that computes in int8: rules, NVIDIA's parser and builder, task metric.

    python benchmarks/jetson.py [CASE | DEVICE ...]

Cases are those of accuracy.py. One calibration serves all devices; devices whose files must be the same share a row.
`lint` counts what `edgeport inspect --for DEVICE` has against the files, `parser` the files that TensorRT for RTX
takes, `builder` those of which it builds an engine for an Ampere GPU, all without a GPU here. The metric is that of the
int8 file in ONNX Runtime, as it is written.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path

import onnx_ir as ir
from accuracy import Case, cases
from apple import artifact_run, distance
from ranged import float_run
from tables import Line, table

from edgeport import api
from edgeport.errors import EdgeportError
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile, profile_names
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.lint import lint_file

_TARGET = "tensorrt"
_COMPARED = 32
_GPU = "SM86"


def boards() -> dict[str, Board]:
    """The Jetsons with int8, by the name of their profile."""
    profiles = (load_profile(name) for name in profile_names() if name.startswith("jetson-"))
    found = {profile.name: board_of(facts_of(profile)) for profile in profiles}
    return {name: board for name, board in found.items() if "int8" in board.precisions}


def alike(wanted: Sequence[str] = ()) -> list[list[str]]:
    """Names of those whose TensorRT, opset and dialect are the same, and so their files."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, board in boards().items():
        same = astuple(replace(board, name="", device="", sm="", jetpack=(), dla=0, precisions=(), no_int8=""))
        groups.setdefault(same, []).append(name)
    return [group for group in groups.values() if not wanted or set(group) & set(wanted)]


def measure(case: Case, groups: Sequence[Sequence[str]]) -> tuple[str, float, list[tuple[str, ...]]]:
    """The metric's name, its value in float, and for every group a row of the table."""
    outputs, reference = float_run(case.model)
    metric, value = next(iter(case.metric(reference).items()))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        statistics = Path(folder) / "statistics.safetensors"
        api.calibrate(
            str(case.model),
            calib=list(case.calibration),
            target=_TARGET,
            out=statistics,
            allow_suspicious_data=True,
            cache=False,
        )
        for group in groups:
            try:
                done = api.export(
                    str(case.model),
                    target=_TARGET,
                    profile=group[0],
                    statistics=statistics,
                    validate=False,
                    out=Path(folder) / group[0],
                    cache=False,
                )
            except EdgeportError as error:
                rows.append((_named(group), "refused", str(error), "", "", ""))
                continue
            path = Path(done.artifacts[_TARGET])
            files = sorted(path.parent.glob("*.onnx"))
            broken = sum(_errors(file, group[0]) for file in files)
            taken = sum(not oracle.rejections(file) for file in files)
            built = sum(_builds(file) for file in files)
            run = artifact_run(case.model, _TARGET, path, outputs)
            sqnr, _ = distance([(reference(s), run(s)) for s in case.held_out[:_COMPARED]])
            figure = case.metric(run)[metric]
            count = len(files)
            rows.append(
                (_named(group), str(broken), f"{taken}/{count}", f"{built}/{count}", f"{sqnr:.1f}", f"{figure:.4f}")
            )
    return metric, value, rows


def _named(group: Sequence[str]) -> str:
    return group[0] + (f" +{len(group) - 1}" if len(group) > 1 else "")


def _errors(file: Path, device: str) -> int:
    found = lint_file(ir.load(file), file, board_of(facts_of(load_profile(device))))
    return sum(finding.severity == "error" for finding in found)


def _builds(file: Path) -> bool:
    try:
        return len(oracle.build(file, (_GPU,))) > 0
    except oracle.WorkerError as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return False


def report(names: Sequence[str] = ()) -> list[Line]:
    """Prints the table of the cases and devices named, or all, and returns the summary's lines."""
    groups = alike([name for name in names if name in boards()])
    wanted = [name for name in names if name not in boards()]
    for group in groups:
        print(f"{_named(group)}: {', '.join(group)}")
    rows, lines = [], []
    for name, load in cases().items():
        if wanted and name not in wanted:
            continue
        metric, value, found = measure(load(), groups)
        for device, *figures in found:
            rows.append((name, device, *figures, f"{metric} {value:.4f}"))
        worst = [row[-1] for row in found if row[-1]]
        lines.append(Line(f"jetson {name}: {metric} int8 / float, all devices", "", f"{' '.join(worst)} / {value:.4f}"))
        print(f"{name} done", file=sys.stderr, flush=True)
    print(table(("case", "device", "lint", "parser", "builder", "SQNR dB", "metric", "float"), rows))
    return lines


if __name__ == "__main__":
    report(sys.argv[1:])
