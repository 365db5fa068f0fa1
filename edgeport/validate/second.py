"""A second runtime of a target's format, beside the one in which the drift is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from edgeport.findings import Finding
from edgeport.sample import Array, Sample
from edgeport.validate.metrics import OutputDrift, OutputMetrics, check_comparable
from edgeport.validate.runner import Runner


@dataclass(frozen=True)
class SecondRun:
    """What a second runtime gave: the outputs of every sample by canonical name, and JSON-ready facts of the run."""

    outputs: tuple[Mapping[str, Array], ...]
    facts: Mapping[str, Any]


class SecondRunner(Protocol):
    """Another runtime for the same file. It must not take the process down, whatever the file is."""

    @property
    def name(self) -> str:
        """The runtime and its version."""

    @property
    def samples(self) -> int:
        """How many held-out samples it is worth running: such runtimes are a hundred times slower."""

    def run_all(self, samples: Sequence[Sample]) -> SecondRun | Finding:
        """Runs samples; a finding says why the file does not run there."""


@dataclass(frozen=True)
class SecondDrift:
    """Drift in a second runtime.

    Attributes:
        runtime: its name and version.
        samples: number of samples, the first of the held-out ones.
        facts: facts of the run.
        outputs: its outputs against the source's.
        first: the outputs of the target's own runtime against the source's, on the same samples.
        apart: its outputs against those of the target's own runtime.
    """

    runtime: str
    samples: int
    facts: Mapping[str, Any]
    outputs: tuple[OutputMetrics, ...]
    first: tuple[OutputMetrics, ...]
    apart: tuple[OutputMetrics, ...]


def measure_second(
    second: SecondRunner, samples: Iterable[Sample], source: Runner, artifact: Runner
) -> SecondDrift | Finding:
    """Runs the first held-out samples in source, artifact and second runtime.

    Raises:
        ModelError: outputs differ in shape or dtype.
    """
    taken = list(islice(samples, second.samples))
    run = second.run_all(taken)
    if isinstance(run, Finding):
        return run
    drifts = {kind: {o: OutputDrift(o) for o in artifact.outputs} for kind in ("outputs", "first", "apart")}
    for sample, got in zip(taken, run.outputs, strict=True):
        want, own = source.run(sample), artifact.run(sample)
        pairs = {"outputs": (want, got), "first": (want, own), "apart": (own, got)}
        for kind, (a, b) in pairs.items():
            for name, drift in drifts[kind].items():
                check_comparable(name, a[name], b[name], what=f"{second.name} and its reference", any_float=True)
                drift.update(a[name], b[name])
    done = {kind: tuple(d.result() for d in each.values()) for kind, each in drifts.items()}
    return SecondDrift(second.name, len(taken), run.facts, done["outputs"], done["first"], done["apart"])
