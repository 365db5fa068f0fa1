"""The drift ladder as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeport.findings import Finding
from edgeport.validate.metrics import OutputMetrics
from edgeport.validate.runner import Verdict
from edgeport.validate.task import MetricResult

Stage = Literal["source", "canonical", "float_artifact", "quantized", "artifact"]
RungName = Literal["capture", "lowering", "quantization", "kernels", "total"]


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Attributes:
        name: the step.
        reference: the model before it.
        compared: the model after it.
        outputs: the distance of every output, in the graph's order; empty where the step was not measured.
        reason: why it was not measured, None if it was.
    """

    name: RungName
    reference: Stage
    compared: Stage
    outputs: tuple[OutputMetrics, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class Blame:
    """The step with the largest share of the noise power in the worst output.

    Attributes:
        sentence: the finding in words.
        rung: the step, None where there is no drift.
        output: the output it is about: the one with the lowest total SQNR.
        shares: step -> share of the noise power, summing to 1; empty where powers cannot be compared.
    """

    sentence: str
    rung: RungName | None = None
    output: str | None = None
    shares: Mapping[RungName, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """The measured ladder of one artifact.

    Attributes:
        samples: number of held-out samples.
        verdict: what kind of evidence the artifact's runner is.
        rungs: capture, lowering, quantization, kernels, total, always in this order.
        blame: which step causes the drift.
        metrics: top-1 on labels and the user's own figures.
        findings: what is wrong with the numbers themselves.
    """

    samples: int
    verdict: Verdict
    rungs: tuple[Rung, ...]
    blame: Blame
    metrics: tuple[MetricResult, ...] = ()
    findings: tuple[Finding, ...] = ()

    def rung(self, name: RungName) -> Rung:
        """The rung of that name."""
        return next(r for r in self.rungs if r.name == name)
