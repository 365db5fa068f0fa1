"""What a report is made from: everything one export found out, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.validate.budgets import BudgetResult
from edgeport.validate.layers import Layer
from edgeport.validate.rungs import Ladder
from edgeport.validate.runner import Verdict
from edgeport.validate.second import SecondDrift

Status = Literal["ok", "planned", "over-budget", "failed", "skipped"]


@dataclass(frozen=True)
class ArtifactFile:
    """A file of the output folder: its path below it (with `/`), size in bytes, and SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TargetReport:
    """One target's part.

    Attributes:
        target: its name.
        precision: what it was lowered with.
        status: `ok`; `planned` by a dry run; `over-budget` where it drifted too far; `failed` where a finding is an
            error; `skipped` where its toolchain is missing.
        verdict: the kind of evidence behind the drift; None where nothing was run.
        files: what was written; all but the `golden` folder counts as what ships.
        facts: JSON-ready facts of the lowering.
        plan: None where there is none.
        ladder: None where nothing was measured.
        budgets: one result a budget.
        findings: about this target; the ladder's and the budgets' included.
        second: the same file in a second runtime of its format.
        layers: the drift of inner tensors, in graph order.
        float_bytes: size of the artifact in float32; None where none was written to compare with.
    """

    target: str
    precision: str
    status: Status
    verdict: Verdict | None = None
    files: tuple[ArtifactFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    ladder: Ladder | None = None
    budgets: tuple[BudgetResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    second: SecondDrift | None = None
    layers: tuple[Layer, ...] = ()
    float_bytes: int | None = None


@dataclass(frozen=True)
class ExportReport:
    """One export.

    Attributes:
        name: the model's name.
        source: JSON-ready facts of the source: `name`, `sha256`, `bytes` (of its float weights).
        precision: what the user asked for.
        options: flag -> value, paths as `Path`, defaults included.
        calibration: JSON-ready facts of the data: digest, numbers of samples, range method, ...; empty without data.
        targets: in the order the user gave.
        findings: about the model and the data, before any target.
    """

    name: str
    source: Mapping[str, Any]
    precision: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[TargetReport, ...] = ()
    findings: tuple[Finding, ...] = ()
