"""One target's artifact: lowered, run beside the float model, and judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.bundle.golden import ArtifactEnds, write_golden
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
from edgeport.validate.layers import Layer, measure_layers
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.rungs import Ladder
from edgeport.validate.second import SecondDrift, measure_second
from edgeport.validate.user_metric import UserMetric

_LEAST_LOWERING_DB = 30.0
_LEAST_LOWERING_MATCH = 0.9
_NEGLIGIBLE = 1e-4
"""Absolute error below which a low SQNR only says that the output was next to zero for these samples."""
_LARGE_DRIFT_DB = 10.0


@dataclass(frozen=True)
class Evidence:
    """What an artifact is judged on: held-out samples (re-iterable), their labels, a metric of the user's, budgets."""

    samples: Iterable[Sample]
    labels: Sequence[Any] | None = None
    metric: UserMetric | None = None
    budgets: tuple[Budget, ...] = ()


@dataclass(frozen=True)
class Emitted:
    """A target's artifact with what is known about it. `ladder` is None where nothing was run, `second` where the
    target has no second runtime for the file. `layers` is the drift of inner tensors."""

    artifact: Artifact
    plan: Plan
    ladder: Ladder | None
    budgets: tuple[BudgetResult, ...]
    findings: tuple[Finding, ...]
    second: SecondDrift | None = None
    layers: tuple[Layer, ...] = ()


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
    refuse_defects(target.name, ladder)
    write_golden(out, evidence.samples, runner, source, _ends(prepared, plan))
    results, remarks = judge(evidence.budgets, ladder)
    findings = (*artifact.findings, *ladder.findings, *_large_drift(ladder), *remarks)
    other = target.second_runner(artifact, prepared.canonical)
    second = None if other is None else measure_second(other, evidence.samples, source, runner)
    if isinstance(second, Finding):
        findings, second = (*findings, second), None
    layers: tuple[Layer, ...] = ()
    if plan.precision != "fp32":
        layers = measure_layers(evidence.samples, prepared.canonical, prepared.runner, runner)
    return Emitted(artifact, plan, ladder, results, findings, second, layers)


def _ends(prepared: Prepared, plan: Plan) -> ArtifactEnds:
    graph = prepared.canonical.graph
    found = {v.name or "": plan.io_qparams(v) for v in (*graph.inputs, *graph.outputs)}
    return ArtifactEnds(plan.input_layout, {name: q for name, q in found.items() if q is not None})


def refuse_defects(target: str, ladder: Ladder) -> None:
    """Float arithmetic explains a lowering rung of 100 dB and more; far less means that the file is wrong.

    Raises:
        ModelError: an output of the target's float file is not what the graph computes.
    """
    for output in ladder.rung("lowering").outputs:
        far = output.sqnr_db is not None and output.sqnr_db < _LEAST_LOWERING_DB and (output.max_abs or 0) > _NEGLIGIBLE
        if far or (output.exact_match is not None and output.exact_match < _LEAST_LOWERING_MATCH):
            figure = f"{output.sqnr_db:.1f} dB" if far else f"{output.exact_match:.3f} of its elements equal"
            raise ModelError(
                f"target {target}: the float file does not compute what the model computes (output {output.output!r}: "
                f"{figure}); this is a defect of edgeport, please report it with the model"
            )


def _large_drift(ladder: Ladder) -> tuple[Finding, ...]:
    """Says that an artifact is hardly the same model, for those who set no budget."""
    return tuple(
        Finding(
            "warning",
            "large-drift",
            f"output {output.output!r} has {output.sqnr_db:.1f} dB SQNR: noise of a third of the signal, or more",
            hint="check the calibration data, try --ranges min-max or a wider precision, and set a --budget",
        )
        for output in ladder.rung("total").outputs
        if output.sqnr_db is not None and output.sqnr_db < _LARGE_DRIFT_DB
    )
