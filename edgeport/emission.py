"""One target's artifact: lowered, run beside the float model, and judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.bundle.golden import write_golden
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.planning import Assigned, assign_for, plan_for
from edgeport.preparation import Prepared
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.sample import Sample
from edgeport.targets.contract import Artifact, Profile, Target
from edgeport.validate.budgets import Budget, BudgetResult, judge
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.rungs import Ladder
from edgeport.validate.user_metric import UserMetric


@dataclass(frozen=True)
class Evidence:
    """What an artifact is judged on: held-out samples (re-iterable), their labels, a metric of the user's, budgets."""

    samples: Iterable[Sample]
    labels: Sequence[Any] | None = None
    metric: UserMetric | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True)
class Emitted:
    """A target's artifact with what is known about it. `ladder` is None where nothing was run."""

    artifact: Artifact
    plan: Plan
    ladder: Ladder | None
    budgets: tuple[BudgetResult, ...]
    findings: tuple[Finding, ...]


def check_target(target: Target, prepared: Prepared, precision: str, profile: Profile | None) -> tuple[Finding, ...]:
    """The target's remarks about the canonical graph.

    Raises:
        ModelError: at least one of them stands in the way; the error carries all.
    """
    findings = tuple(target.check(prepared.canonical, precision, profile))
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        what = sorted({f.op for f in errors if f.op})
        raise ModelError(
            f"target {target.name} cannot express {len(errors)} node(s) of the model"
            + (f" ({', '.join(what)})" if what else ""),
            findings,
        )
    return findings


def emit(
    target: Target,
    profile: Profile | None,
    prepared: Prepared,
    assigned: Assigned,
    plan: Plan,
    folder: Path,
    evidence: Evidence | None,
    progress: Callable[[int], None] | None = None,
) -> Emitted:
    """Lowers the plan below `folder / target.name` and measures the drift of the file.

    Raises:
        ModelError: the target cannot express the graph, or its own runtime does not load the file.
    """
    out = folder / target.name
    out.mkdir()
    name = prepared.captured.name
    artifact = target.lower(prepared.canonical, plan, out, name)
    if evidence is None:
        return Emitted(artifact, plan, None, (), artifact.findings)
    source = prepared.captured.reference
    runner = target.runner(artifact, prepared.canonical)
    with tempfile.TemporaryDirectory(prefix="edgeport-") as scratch:
        twin = quantized = None
        if plan.precision != "fp32":
            quantized = OnnxRunner(write_qdq(prepared.canonical, plan, assigned.scheme), simulate=True)
            in_float = assign_for(prepared.canonical, target.scheme("fp32", profile))
            float_plan = plan_for(prepared.canonical, in_float, None, "min-max")
            float_artifact = target.lower(prepared.canonical, float_plan, Path(scratch), name)
            twin = target.runner(float_artifact, prepared.canonical)
        ladder = measure_ladder(
            evidence.samples,
            source=source,
            canonical=prepared.runner,
            float_artifact=twin,
            quantized=quantized,
            artifact=runner,
            labels=evidence.labels,
            metric=evidence.metric,
            progress=progress,
        )
    write_golden(out, evidence.samples, runner, source)
    results, remarks = judge(evidence.budgets, ladder)
    return Emitted(artifact, plan, ladder, results, (*artifact.findings, *ladder.findings, *remarks))
