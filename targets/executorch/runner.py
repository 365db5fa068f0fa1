"""Runs a .pte file in ExecuTorch's own runtime under canonical names, shapes and dtypes."""

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
from edgeport.targets.executorch import engine
from edgeport.targets.values import dtype_of, shape_of, spec_of
from edgeport.targets.worker_process import WorkerError
from edgeport.validate.runner import Verdict


@dataclass
class PteRunner:
    """A `Runner` over a .pte file.

    Args:
        path: the file.
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
            UsageError: the sample does not fit the model's inputs, or the file is of another model.
            ModelError: the runtime does not run the file.
        """
        feeds = self._feeds(sample)
        try:
            raw = engine.run(self.path, feeds)
        except WorkerError as error:
            raise ModelError(f"ExecuTorch's runtime does not run {self.path.name}: {error}") from error
        wanted = self.graph.graph.outputs
        if len(raw) != len(wanted):
            raise UsageError(f"the model has {len(wanted)} outputs, {self.path.name} gives {len(raw)}")
        results = {}
        for value, array in zip(wanted, raw, strict=True):
            name, want = value.name or "", (shape_of(value), dtype_of(value))
            if (array.shape, array.dtype.name) != want:
                got = f"{array.dtype.name}{list(array.shape)}"
                raise UsageError(f"the model has output {name!r}, {want[1]}{list(want[0])}; {self.path.name} has {got}")
            results[name] = array
        return results

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """None: what XNNPACK computes inside of its parts does not show."""
        return {}

    @functools.cached_property
    def _taken(self) -> engine.Ends:
        try:
            return engine.inspect(self.path).inputs
        except WorkerError as error:
            raise ModelError(
                f"{self.path} is no .pte file that ExecuTorch's runtime loads, or is damaged ({error}); export it again"
            ) from error

    def _feeds(self, sample: Sample) -> list[Array]:
        """The sample in the order of the file's inputs, which have no names: they are the model's, in its order."""
        specs = self.inputs
        if set(sample) != {spec.name for spec in specs}:
            raise UsageError(f"the sample has inputs {sorted(sample)}, the model takes {sorted(s.name for s in specs)}")
        if len(specs) != len(self._taken):
            raise UsageError(f"the model has {len(specs)} inputs, {self.path.name} takes {len(self._taken)}")
        feeds = []
        for spec, (shape, dtype) in zip(specs, self._taken, strict=True):
            array = np.asarray(sample[spec.name])
            if array.shape != shape or array.dtype.name != dtype:
                got = f"{array.dtype.name}{list(array.shape)}"
                raise UsageError(f"input {spec.name!r} is {got}, {self.path.name} takes {dtype}{list(shape)}")
            feeds.append(array)
        return feeds
