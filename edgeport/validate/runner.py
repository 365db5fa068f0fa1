"""The protocol every runner follows: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample

Verdict = Literal["measured", "reference-verified", "checked-not-run"]
"""What stands behind a drift figure: the target's own runtime, an independent evaluator, or checks only."""


class Runner(Protocol):
    """Something that runs a model. Names are those of the canonical graph; arrays have its shapes and dtypes."""

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The inputs, in the graph's order."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The output names, in the graph's order."""

    @property
    def verdict(self) -> Verdict:
        """The kind of evidence that a figure from this runner is."""

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample and returns every output by name."""

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Values of internal tensors by canonical name; a name the runtime does not keep is left out."""


class ArtifactRunner(Runner, Protocol):
    """A runner of a target's artifact, which may have something to say about it."""

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """What the runs so far have shown about the artifact beside their outputs, e.g. numbers that overflowed."""
