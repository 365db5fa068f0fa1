"""Runs a file in ONNX Runtime on the CPU, with the rewritings and the kernels that an app gets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.values import dtype_of, spec_of
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.runner import Verdict

_DEQUANTIZED = ":dq"
"""Ends the name of what readers see of a value that is kept in integers."""


@dataclass
class OnnxruntimeRunner:
    """A `Runner` over an .onnx or .ort file.

    Args:
        path: the file.
        graph: the canonical graph it was lowered from; gives names and dtypes.
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
        """This is the runtime that apps have."""
        return "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """There are none."""
        return ()

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            CalibrationError: the sample does not fit the model's inputs.
            ModelError: the file is damaged, or belongs to another model.
        """
        found = self._session.run(sample)
        missing = [name for name in self.outputs if name not in found]
        if missing:
            raise ModelError(
                f"{self.path.name} has no output {missing[0]!r}; give the model it was made from as the source"
            )
        return {v.name or "": found[v.name or ""].astype(dtype_of(v), copy=False) for v in self.graph.graph.outputs}

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name, as what reads them sees them; a .ort file has none."""
        if self.path.suffix == ".ort":
            return {}
        values = {v.name or "": v for node in self.graph.graph for v in node.outputs}
        seen = {f"{name}{_DEQUANTIZED}" if f"{name}{_DEQUANTIZED}" in self._names else name: name for name in names}
        found = self._session.intermediates(sample, [place for place, name in seen.items() if name in values])
        return {seen[at]: array.astype(dtype_of(values[seen[at]]), copy=False) for at, array in found.items()}

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        """Of all values that the file computes."""
        graph = onnx.load(self.path, load_external_data=False).graph
        return frozenset(name for node in graph.node for name in node.output)

    @functools.cached_property
    def _session(self) -> OnnxRunner:
        return OnnxRunner(self.path, stock=True)
