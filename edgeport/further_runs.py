"""What an artifact does beside its main shapes and single runs: at further shapes, and over several steps."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from edgeport.emission import LARGE_DRIFT_DB, Emitted, figure, is_far
from edgeport.errors import BudgetError, ModelError
from edgeport.findings import Finding
from edgeport.preparation import Prepared
from edgeport.report.encode import jsonable
from edgeport.sample import Sample
from edgeport.shapes import at_shapes
from edgeport.targets.contract import Target
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.metrics import OutputDrift, OutputMetrics

_SAMPLES, _STEPS = 4, 8


def measure_shapes(
    emitted: Emitted, target: Target, further: Mapping[str, Prepared], samples: Iterable[Sample]
) -> Emitted:
    """Runs the artifact at every further shape, on samples cut or repeated to it; what it is there joins its facts.

    Raises:
        ModelError: a float32 artifact does not compute there what the model computes.
        BudgetError: an output is not finite where the source's is.
    """
    facts, findings = [], list(emitted.findings)
    for text, prepared in further.items():
        ladder = measure_ladder(
            at_shapes(samples, prepared.inputs, _SAMPLES),
            source=prepared.captured.reference,
            canonical=prepared.runner,
            float_artifact=None,
            quantized=None,
            artifact=target.runner(emitted.artifact, prepared.canonical),
        )
        broken = next((one for one in ladder.findings if one.severity == "error"), None)
        if broken is not None:
            raise BudgetError(f"--shapes {text!r}: {broken.message}", [broken])
        outputs = ladder.rung("total").outputs
        far = next((o for o in outputs if is_far(o)), None)
        if far is not None and emitted.plan.precision == "fp32":
            raise ModelError(f"--shapes {text!r}: the file does not compute what the model computes ({figure(far)})")
        if far is not None and far.sqnr_db is not None and far.sqnr_db < LARGE_DRIFT_DB:
            message = f"output {far.output!r} has {figure(far)} with --shapes {text}"
            findings.append(Finding("warning", "large-drift", message))
        findings.append(_remark(f"--shapes {text}, {ladder.samples} samples cut or repeated to them", outputs))
        findings += [replace(one, message=f"{one.message} (--shapes {text})") for one in ladder.findings]
        facts.append({"shapes": text, "samples": ladder.samples, "outputs": jsonable(outputs)})
    artifact = replace(emitted.artifact, facts={**emitted.artifact.facts, "shapes": facts})
    return replace(emitted, artifact=artifact, findings=tuple(findings))


def measure_steps(emitted: Emitted, prepared: Prepared, target: Target, samples: Iterable[Sample]) -> Emitted:
    """Runs an artifact that keeps states over several samples in a row, beside the source that is handed its own.

    Both begin with zeros. What the outputs are apart joins the facts.
    """
    states = emitted.plan.states
    runners = (prepared.captured.reference, target.runner(emitted.artifact, prepared.canonical))
    zeros = {s.name: np.zeros([int(d) for d in s.shape], s.dtype) for s in prepared.inputs if s.name in states}
    kept = [zeros, zeros]
    drifts = {name: OutputDrift(name) for name in prepared.runner.outputs}
    steps = 0
    for sample in islice(itertools.cycle(islice(samples, _STEPS)), _STEPS):
        outputs = [dict(r.run({**sample, **k})) for r, k in zip(runners, kept, strict=True)]
        outputs[0] = dict(zip(prepared.runner.outputs, outputs[0].values(), strict=True))
        for name, drift in drifts.items():
            drift.update(outputs[0][name], outputs[1][name])
        kept = [{name: o[output] for name, output in states.items()} for o in outputs]
        steps += 1
    measured = tuple(drift.result() for drift in drifts.values())
    facts = {**emitted.artifact.facts, "steps": {"count": steps, "outputs": jsonable(measured)}}
    findings = [_remark(f"{steps} steps from zero states", measured)]
    findings += [
        Finding("warning", "large-drift", f"output {o.output!r} has {figure(o)} over {steps} steps from zero states")
        for o in measured
        if o.sqnr_db is not None and o.sqnr_db < LARGE_DRIFT_DB
    ]
    return replace(emitted, artifact=replace(emitted.artifact, facts=facts), findings=(*emitted.findings, *findings))


def _remark(what: str, outputs: Sequence[OutputMetrics]) -> Finding:
    figures = (f"{o.output!r} {'identical' if o.identical else figure(o)}" for o in outputs)
    return Finding("info", "further-run", f"{what}: {', '.join(figures)}")
