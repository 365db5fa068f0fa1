"""Runs an .aimodel in Core AI's own runtime under canonical names, shapes and dtypes."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.coreai import engine
from edgeport.targets.values import dtype_of, shape_of, spec_of
from edgeport.targets.worker_process import WorkerError
from edgeport.validate.runner import Verdict


@dataclass
class AimodelRunner:
    """A `Runner` over an .aimodel folder.

    Args:
        path: the folder.
        graph: the canonical graph it was lowered from; gives names, shapes and dtypes.
    """

    path: Path
    graph: ir.Model

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph's inputs."""
        return tuple(spec_of(v) for v in self.graph.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's output names."""
        return tuple(v.name or "" for v in self.graph.graph.outputs)

    @property
    def verdict(self) -> Verdict:
        """It is the target's own runtime."""
        return "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """The runtime shows outputs only."""
        return ()

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            UsageError: the sample does not fit the model's inputs.
            ModelError: the runtime does not run the file.
        """
        feeds = self._feeds(sample)
        try:
            raw = engine.run(self.path, feeds)
        except WorkerError as error:
            raise ModelError(f"Core AI's runtime does not run {self.path.name}: {error}") from error
        results = {}
        for value in self.graph.graph.outputs:
            name, want = value.name or "", (shape_of(value), dtype_of(value))
            array = raw.get(name)
            if array is None or (array.shape, array.dtype.name) != want:
                got = sorted(raw) if array is None else f"{array.dtype.name}{list(array.shape)}"
                raise UsageError(f"the model has output {name!r}, {want[1]}{list(want[0])}; {self.path.name} has {got}")
            results[name] = array
        return results

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name, from a copy of the program that gives them; without those it fuses."""
        values = {v.name or "": v for node in self.graph.graph for v in node.outputs if v.shape is not None}
        wanted = [name for name in names if name in values]
        try:
            found = engine.watch(self.path, wanted, self._feeds(sample)) if wanted else {}
        except WorkerError as error:
            raise ModelError(f"Core AI's runtime does not run {self.path.name}: {error}") from error
        kept = {name: array for name, array in found.items() if array.shape == shape_of(values[name])}
        return {name: array.astype(dtype_of(values[name]), copy=False) for name, array in kept.items()}

    @functools.cached_property
    def _taken(self) -> dict[str, tuple[tuple[int, ...], str]]:
        try:
            return dict(engine.inspect(self.path).inputs)
        except WorkerError as error:
            raise ModelError(
                f"{self.path} is no .aimodel that Core AI's runtime loads, or is damaged ({error}); export it again"
            ) from error

    def _feeds(self, sample: Sample) -> dict[str, Array]:
        """The sample as the file takes it; another shape or dtype would end the runtime's process."""
        if set(sample) != set(self._taken):
            raise UsageError(f"the sample has inputs {sorted(sample)}, {self.path.name} takes {sorted(self._taken)}")
        feeds = {}
        for name, (shape, dtype) in self._taken.items():
            array = np.asarray(sample[name])
            if array.shape != shape:
                raise UsageError(f"input {name!r} has shape {array.shape}, {self.path.name} takes {shape}")
            feeds[name] = np.asarray(array, dtype, order="C")
        return feeds
