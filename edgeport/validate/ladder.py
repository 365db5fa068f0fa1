"""The drift ladder: how far the artifact is from the source, split into the steps that cause it.

    source --capture--> canonical graph --quantization--> quantized graph --kernels--> artifact
                              +--lowering--> float artifact
    source -----------------------------------total----------------------------------> artifact

A float artifact has no quantized graph: its lowering step holds everything between canonical graph and artifact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgeport.errors import CalibrationError, EdgeportError, ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import Array, Sample
from edgeport.validate.blame import Measured, find_blame, find_faults
from edgeport.validate.metrics import OutputDrift, check_comparable
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.rungs import Ladder, Rung, RungName, Stage
from edgeport.validate.runner import Runner
from edgeport.validate.task import MetricResult, SampleMetric, Top1
from edgeport.validate.user_metric import UserMetric, task_values

RESERVED = ("sqnr", "cosine", "cosine_min", "max_abs", "exact_match", "top1_agreement")
"""Names of the figures that every output has; a user's metric cannot have one of them."""

_TITLE: Mapping[Stage, str] = {
    "source": "the source",
    "canonical": "the canonical graph",
    "float_artifact": "the float artifact",
    "quantized": "the quantized graph",
    "artifact": "the artifact",
}


def measure_ladder(
    samples: Iterable[Sample],
    *,
    source: Runner,
    canonical: Runner,
    float_artifact: Runner | None,
    quantized: Runner | None,
    artifact: Runner,
    labels: Iterable[Any] | None = None,
    metric: UserMetric | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ladder:
    """Runs every model once on every sample and compares them step by step.

    Args:
        samples: held-out samples, read once.
        source: the float reference the user handed in.
        canonical: the canonical graph.
        float_artifact: the target's file in float, for the lowering rung of an integer artifact.
        quantized: the quantized graph; None for a precision that has none, whose artifact is the float artifact.
        artifact: what ships. A runner that stands for two models is run once.
        labels: one entry a sample (a class index or an array of them).
        metric: the user's metric.
        progress: called with the number of samples done, after each.

    Raises:
        ModelError: outputs of two models differ in name, shape or dtype.
        CalibrationError: no samples, or labels that do not go with them.
        UsageError: the user's metric failed, needs labels that are missing, or has a name that is taken.
    """
    if metric is not None and metric.label == "required" and labels is None:
        raise UsageError(f"{metric.said} takes a label, but the held-out data have none; give labels with --data")
    if metric is not None and metric.form == "per-sample":
        _check_name(metric, metric.name)
    if quantized is None and float_artifact not in (None, artifact):
        raise ValueError("without a quantized graph the artifact is the float artifact")
    runners: dict[Stage, Runner] = {"source": source, "canonical": canonical}
    if quantized is not None:
        runners |= {"float_artifact": float_artifact} if float_artifact is not None else {}
        runners["quantized"] = quantized
    runners["artifact"] = artifact
    steps = _steps(runners)
    drifts = {name: {o: OutputDrift(o) for o in canonical.outputs} for name in steps}
    top1 = Top1() if labels is not None else None
    own = SampleMetric(metric) if metric is not None and metric.form == "per-sample" else None
    task: dict[str, MetricResult] = {}
    if metric is not None and metric.form == "task":
        task = _task_metrics(metric, source, artifact, canonical.outputs)

    count = 0
    for sample, label, stages in _runs(runners, _labelled(samples, labels), canonical.outputs):
        for name, (before, after) in steps.items():
            for output, drift in drifts[name].items():
                a, b = stages[before][output], stages[after][output]
                # Only the source may be of another float width than the canonical graph, which is float32.
                what = f"{_TITLE[after]} and {_TITLE[before]}"
                check_comparable(output, a, b, what=what, any_float=before == "source")
                drift.update(a, b)
        if top1 is not None:
            top1.update({str(name): outputs for name, outputs in stages.items()}, label, count)
        if own is not None:
            own.update(sample, stages["source"], stages["artifact"], label)
        count += 1
        if progress is not None:
            progress(count)
    if count == 0:
        raise CalibrationError("no held-out samples to measure drift on; give them with --data")

    rungs = tuple(_rung(name, steps, drifts) for name in ("capture", "lowering", "quantization", "kernels", "total"))
    metrics: dict[str, MetricResult] = {}
    if top1 is not None and (result := top1.result()) is not None:
        metrics["top1"] = result
    if own is not None:
        metrics[own.metric.name] = own.result()
    metrics |= task  # a user's `top1` stands before the built-in one
    faults: tuple[Finding, ...] = ()
    if top1 is not None and top1.misfit is not None and (metric is None or metric.label == "never"):
        faults = (
            Finding("warning", "labels-not-used", f"no top-1: {top1.misfit}", hint="give a --metric of your own"),
        )
    measured: Measured = {r.name: r.outputs for r in rungs if r.reason is None}
    faults += find_faults(measured)
    return Ladder(count, artifact.verdict, rungs, find_blame(measured), tuple(metrics.values()), faults)


def _steps(runners: Mapping[Stage, Runner]) -> dict[RungName, tuple[Stage, Stage]]:
    """The rungs that can be measured: name -> (model before, model after)."""
    steps: dict[RungName, tuple[Stage, Stage]] = {"capture": ("source", "canonical")}
    if "quantized" not in runners:
        steps["lowering"] = ("canonical", "artifact")
    else:
        if "float_artifact" in runners:
            steps["lowering"] = ("canonical", "float_artifact")
        steps |= {"quantization": ("canonical", "quantized"), "kernels": ("quantized", "artifact")}
    return steps | {"total": ("source", "artifact")}


def _rung(
    name: RungName,
    steps: Mapping[RungName, tuple[Stage, Stage]],
    drifts: Mapping[RungName, Mapping[str, OutputDrift]],
) -> Rung:
    if name in steps:
        return Rung(name, *steps[name], tuple(d.result() for d in drifts[name].values()))
    if name == "lowering":
        return Rung(name, "canonical", "float_artifact", reason="no float artifact was made")
    reason = "not applicable: the artifact is float, so the lowering rung holds it all"
    if name == "quantization":
        return Rung(name, "canonical", "quantized", reason=reason)
    return Rung(name, "quantized", "artifact", reason=reason)


def _runs(
    runners: Mapping[Stage, Runner], samples: Iterable[tuple[Sample, Any | None]], outputs: tuple[str, ...]
) -> Iterator[tuple[Sample, Any | None, dict[Stage, dict[str, Array]]]]:
    """Every sample with its label and what every model gives for it.

    A second thread runs the graphs of ONNX Runtime; toolchains have settings for the process, and stay on this one.
    """
    distinct = {id(runner): runner for runner in runners.values()}
    with ThreadPoolExecutor(1) as other:
        for sample, label in samples:
            begun = {key: other.submit(r.run, sample) for key, r in distinct.items() if isinstance(r, OnnxRunner)}
            try:
                made = {key: r.run(sample) for key, r in distinct.items() if key not in begun}
            except EdgeportError:
                for run in begun.values():
                    run.result()  # what the float model says of a sample comes first
                raise
            made |= {key: run.result() for key, run in begun.items()}
            yield sample, label, {stage: _named(made[id(r)], outputs, stage) for stage, r in runners.items()}


def _named(made: Mapping[str, Array], outputs: tuple[str, ...], stage: Stage) -> dict[str, Array]:
    if set(made) != set(outputs):
        raise ModelError(
            f"{_TITLE[stage]} returns outputs {', '.join(map(repr, made))}, "
            f"but the canonical graph has {', '.join(map(repr, outputs))}"
        )
    return {name: made[name] for name in outputs}


def _labelled(samples: Iterable[Sample], labels: Iterable[Any] | None) -> Iterator[tuple[Sample, Any | None]]:
    if labels is None:
        yield from ((sample, None) for sample in samples)
        return
    missing = object()
    rest = iter(labels)
    for index, sample in enumerate(samples):
        label = next(rest, missing)
        if label is missing:
            raise CalibrationError(f"there are {index} labels, but more held-out samples; give one label a sample")
        yield sample, label
    if next(rest, missing) is not missing:
        raise CalibrationError("there are more labels than held-out samples; give one label a sample")


def _task_metrics(
    metric: UserMetric, source: Runner, artifact: Runner, outputs: tuple[str, ...]
) -> dict[str, MetricResult]:
    def values(runner: Runner) -> dict[str, float]:
        def run(sample: Sample) -> list[Array]:
            result = runner.run(sample)
            return [result[name] for name in outputs]

        return task_values(metric, run)

    first, second = values(source), values(artifact)
    if list(first) != list(second):
        raise UsageError(f"{metric.said} returned {list(first)} for the source and {list(second)} for the artifact")
    for name in first:
        _check_name(metric, name)
    return {n: MetricResult(n, {"source": first[n], "artifact": second[n]}, first[n] - second[n]) for n in first}


def _check_name(metric: UserMetric, name: str) -> None:
    if name in RESERVED or name.endswith("_drop"):
        raise UsageError(f"{metric.said}: the name {name!r} is taken by a built-in figure; rename it")
