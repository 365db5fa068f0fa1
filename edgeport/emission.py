"""One target's artifact: lowered, run beside the float model, and judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from edgeport.bundle.golden import ArtifactEnds, write_golden
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.planning import Assigned, assign_for, plan_for
from edgeport.preparation import Prepared
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.sample import Sample
from edgeport.shapes import Shaped, TakesShapes
from edgeport.targets.contract import Artifact, Profile, Target
from edgeport.validate.budgets import Budget, BudgetResult, judge
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.layers import Layer, measure_layers, steepest_losses
from edgeport.validate.metrics import OutputMetrics
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.rungs import Ladder
from edgeport.validate.second import SecondDrift, measure_second
from edgeport.validate.stability import output_motion
from edgeport.validate.user_metric import UserMetric

_LEAST_LOWERING_DB = 30.0
_LEAST_LOWERING_MATCH = 0.9
_NEGLIGIBLE = 1e-4
"""Absolute error below which a low SQNR only says that the output was next to zero for these samples."""
LARGE_DRIFT_DB = 10.0
_NAMED_LAYERS = 3
_MOTION_MARGIN_DB = 10.0
"""Between two counts of rows that changed places by chance."""


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
    target has no second runtime for the file. `layers` is the drift of inner tensors, `float_bytes` the size of the
    target's file in float32, None where none was written."""

    artifact: Artifact
    plan: Plan
    ladder: Ladder | None
    budgets: tuple[BudgetResult, ...]
    findings: tuple[Finding, ...]
    second: SecondDrift | None = None
    layers: tuple[Layer, ...] = ()
    float_bytes: int | None = None


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
    further: Sequence[Shaped] = (),
) -> Emitted:
    """Lowers the plan below `folder / target.name` and measures the drift of the file.

    Raises:
        ModelError: the target cannot express the graph, or its own runtime does not load the file.
    """
    out = folder / target.name
    out.mkdir()
    name = prepared.captured.name
    if further:
        every = [Shaped("", prepared.canonical, plan), *further]
        artifact = cast("TakesShapes", target).lower_shapes(every, out, name)
    else:
        artifact = target.lower(prepared.canonical, plan, out, name)
    if evidence is None:
        return Emitted(artifact, plan, None, (), artifact.findings)
    source = prepared.captured.reference
    runner = target.runner(artifact, prepared.canonical)
    with tempfile.TemporaryDirectory(prefix="edgeport-") as scratch:
        twin = quantized = float_bytes = None
        if not plan.exact:
            quantized = OnnxRunner(write_qdq(prepared.canonical, plan, assigned.scheme), simulate=True)
            in_float = assign_for(prepared.in_float, target.scheme("fp32", profile))
            float_plan = plan_for(prepared.in_float, in_float, None, "min-max")
            on_device = replace(float_plan, device=plan.device)
            float_artifact = target.lower(prepared.in_float, on_device, Path(scratch), name)
            float_bytes = _bytes(float_artifact)
            twin = target.runner(float_artifact, prepared.in_float)
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
    del twin, quantized  # or else their sessions would lie beside all inner tensors below
    unstable = refuse_defects(target.name, ladder, lambda: output_motion(prepared.in_float, evidence.samples))
    write_golden(out, evidence.samples, runner, source, _ends(prepared, plan, artifact))
    results, remarks = judge(evidence.budgets, ladder)
    layers: tuple[Layer, ...] = ()
    if not plan.exact:
        layers = measure_layers(evidence.samples, prepared.canonical, prepared.runner, runner)
    losses = steepest_losses(layers, prepared.canonical.graph, _NAMED_LAYERS)
    seen = (*ladder.findings, *unstable, *runner.remarks, *_large_drift(ladder, losses))
    findings = (*artifact.findings, *seen, *remarks)
    other = target.second_runner(artifact, prepared.canonical)
    second = None if other is None else measure_second(other, evidence.samples, source, runner)
    if isinstance(second, Finding):
        findings, second = (*findings, second), None
    return Emitted(artifact, plan, ladder, results, findings, second, layers, float_bytes)


def _bytes(artifact: Artifact) -> int:
    return int(artifact.facts.get("bytes", sum(file.stat().st_size for file in artifact.files)))


def _ends(prepared: Prepared, plan: Plan, artifact: Artifact) -> ArtifactEnds:
    graph = prepared.canonical.graph
    found = {v.name or "": plan.io_qparams(v) for v in (*graph.inputs, *graph.outputs)}
    qparams = {name: q for name, q in found.items() if q is not None}
    return ArtifactEnds(plan.input_layout, qparams, artifact.dtypes, plan.pixels)


def refuse_defects(
    target: str, ladder: Ladder, motion: Callable[[], Mapping[str, OutputMetrics]]
) -> tuple[Finding, ...]:
    """Float arithmetic explains a lowering rung of 100 dB and more; far less means that the file is wrong.

    Unless the output is one that rounding alone turns over: then it is reported.

    Args:
        target: its name.
        ladder: what was measured.
        motion: how far the float model's own outputs move when its scores are nudged; asked for where it matters.

    Raises:
        ModelError: an output of the target's float file is not what the graph computes.
    """
    suspects = [output for output in ladder.rung("lowering").outputs if is_far(output)]
    moved = motion() if suspects else {}
    findings = []
    for output in suspects:
        if not _explains(moved[output.output], output):
            raise ModelError(
                f"target {target}: the float file does not compute what the model computes (output {output.output!r}: "
                f"{figure(output)}); this is a defect of edgeport, please report it with the model"
            )
        message = (
            f"output {output.output!r} turns over with float32's own rounding: the float file gives {figure(output)}, "
            f"the float model {figure(moved[output.output])} if the scores of its TopK or ArgMax change by a millionth"
        )
        findings.append(Finding("warning", "unstable-output", message, hint="judge it with --metric on real samples"))
    return tuple(findings)


def is_far(output: OutputMetrics) -> bool:
    """Whether an output is further off than float arithmetic explains."""
    if output.exact_match is not None:
        return output.exact_match < _LEAST_LOWERING_MATCH
    return output.sqnr_db is not None and output.sqnr_db < _LEAST_LOWERING_DB and (output.max_abs or 0) > _NEGLIGIBLE


def _explains(moved: OutputMetrics, output: OutputMetrics) -> bool:
    """Whether the float model's own output moves as far as the file is away, to within `_MOTION_MARGIN_DB`."""
    if not is_far(moved):
        return False
    if moved.sqnr_db is None or output.sqnr_db is None:
        return True
    return moved.sqnr_db < output.sqnr_db + _MOTION_MARGIN_DB


def figure(output: OutputMetrics) -> str:
    """How far off an output is, in words."""
    if output.sqnr_db is not None:
        return f"{output.sqnr_db:.1f} dB"
    return f"{output.exact_match:.3f} of its elements equal"


def _large_drift(ladder: Ladder, losses: Sequence[Layer]) -> tuple[Finding, ...]:
    """Says that an artifact is hardly the same model and where that comes from, for those who set no budget."""
    places = ", ".join(f"{one.tensor} ({one.op}, {_fall(one)} dB)" for one in losses)
    where = f"noise of a third of the signal, or more{f'; most is lost at {places}' if places else ''}"
    return tuple(
        Finding(
            "warning",
            "large-drift",
            f"output {output.output!r} has {output.sqnr_db:.1f} dB SQNR: {where}",
            hint="check the calibration data, try other --ranges or a wider precision, and set a --budget",
        )
        for output in ladder.rung("total").outputs
        if output.sqnr_db is not None and output.sqnr_db < LARGE_DRIFT_DB
    )


def _fall(layer: Layer) -> str:
    return f"{'' if layer.before_db is None else f'{layer.before_db:.0f} -> '}{layer.sqnr_db:.0f}"
