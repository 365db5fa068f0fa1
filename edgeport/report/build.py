"""The report as JSON-ready data (docs/report.md describes every field), and its two files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeport import __version__
from edgeport.quantize.compression import Palette
from edgeport.quantize.plan import Plan, TensorPlan
from edgeport.report.contents import ExportReport, TargetReport
from edgeport.report.encode import Json, jsonable, portable, to_text

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


def build_report(report: ExportReport) -> dict[str, Json]:
    """The report as plain data: no timings, no absolute paths, finite floats, keys in a fixed order."""
    return {
        "schema_version": SCHEMA_VERSION,
        "edgeport": __version__,
        "name": report.name,
        "source": jsonable(report.source),
        "precision": report.precision,
        "options": portable(report.options),
        "calibration": jsonable(report.calibration),
        "findings": jsonable(report.findings),
        "targets": [_target(t) for t in report.targets],
    }


def write_report(folder: Path, report: ExportReport) -> tuple[Path, Path]:
    """Writes `report.json` and `report.html` into a folder and returns their paths."""
    from edgeport.report.html import render_html

    data = build_report(report)
    json_path, html_path = folder / "report.json", folder / "report.html"
    json_path.write_bytes(to_text(data).encode("ascii"))
    html_path.write_bytes(render_html(data).encode("utf-8", "replace"))
    return json_path, html_path


def _target(target: TargetReport) -> dict[str, Json]:
    return {
        "target": target.target,
        "precision": target.precision,
        "status": target.status,
        "verdict": target.verdict,
        "bytes": target.facts.get("bytes", sum(f.bytes for f in target.files if "golden" not in f.path.split("/"))),
        "float_bytes": target.float_bytes,
        "files": jsonable(sorted(target.files, key=lambda f: f.path)),
        "facts": jsonable(target.facts),
        "ladder": None if target.ladder is None else _without(jsonable(target.ladder), "findings"),
        "budgets": jsonable(target.budgets),
        "second": jsonable(target.second),
        "layers": jsonable(target.layers),
        "findings": jsonable(target.findings),
        "plan": None if target.plan is None else plan_data(target.plan),
    }


def plan_data(plan: Plan) -> dict[str, Json]:
    """A plan as plain data: how many nodes run in which kernel and why, then every node and every tensor."""
    kernels = Counter(n.kernel for n in plan.nodes.values())
    names = {*plan.nodes, *plan.tensors}
    reasons = Counter((n.kernel, _general(n.reason, names)) for n in plan.nodes.values())
    return {
        "precision": plan.precision,
        "kernels": {kernel: kernels[kernel] for kernel in sorted(kernels)},
        "reasons": [
            {"kernel": kernel, "reason": reason, "nodes": count}
            for (kernel, reason), count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ],
        "nodes": jsonable(list(plan.nodes.values())),
        "tensors": [_tensor(t) for t in plan.tensors.values()],
    }


def _general(reason: str, names: set[str]) -> str:
    """A reason without the names of nodes and tensors, so that equal reasons count together."""
    words = reason.split(" ")
    bare = [word.strip(",;:()'") for word in words]
    return " ".join(w.replace(b, "…") if b in names else w for w, b in zip(words, bare, strict=True))


def _tensor(tensor: TensorPlan) -> dict[str, Json]:
    """One row of the tensor table; the scales of channels are given by their range, palettes by their number: all of
    them are in the artifact."""
    row: dict[str, Any] = {"name": tensor.name, "role": tensor.role, "dtype": "float32"}
    q = tensor.qparams
    if q is not None:
        zeros = sorted({int(z) for z in q.zero_point.reshape(-1)})
        row |= {
            "dtype": q.dtype,
            "channels": int(q.scale.size),
            "axis": q.axis,
            "scale_min": q.scale.min(),
            "scale_max": q.scale.max(),
            "zero_point": zeros[0] if len(zeros) == 1 else zeros,
        }
    if isinstance(tensor.stored, Palette):
        lut = tensor.stored.lut
        row |= {"dtype": f"palette{tensor.stored.bits}", "palettes": len(lut), "axis": tensor.stored.axis}
    elif tensor.stored is not None:
        row |= {"dtype": "sparse", "zeros": 1 - float(tensor.stored.mask.mean())}
    return {key: jsonable(value) for key, value in row.items()} | {"reason": tensor.reason}


def _without(data: dict[str, Json], key: str) -> dict[str, Json]:
    return {k: v for k, v in data.items() if k != key}
