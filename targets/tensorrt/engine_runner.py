"""Runs an engine on the GPU of this machine, with the script that runs it on the board."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.tensorrt.engine import installed_tensorrt, script
from edgeport.targets.values import dtype_of, spec_of
from edgeport.validate.onnx_runner import check_sample
from edgeport.validate.runner import Verdict


@dataclass
class EngineRunner:
    """A `Runner` over an engine, on the GPU of this machine.

    Args:
        path: the engine.
        graph: the canonical graph it was built from; gives names, shapes and dtypes.
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
        """The engine itself ran."""
        return "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """There are none."""
        return ()

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name, in the graph's dtype.

        Raises:
            CalibrationError: the sample does not fit the model's inputs.
            ModelError: the engine cannot be loaded, or does not run.
        """
        check_sample(self.inputs, sample)
        engine, error = self._engine
        try:
            found: Mapping[str, Array] = engine.run({name: sample[name] for name in engine.inputs})
        except error as failed:
            raise ModelError(f"{self.path.name}: {failed}") from failed
        return {v.name or "": found[v.name or ""].astype(dtype_of(v), copy=False) for v in self.graph.graph.outputs}

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Engines keep no inner tensors."""
        return {}

    @functools.cached_property
    def _engine(self) -> tuple[Any, type[Exception]]:
        """What runs it: the script for the board; and the error that it raises."""
        infer = script("infer")
        try:
            return infer["Engine"](str(self.path), installed_tensorrt()), infer["EngineError"]
        except infer["EngineError"] as error:
            raise ModelError(str(error)) from error
