"""Runs an emitted ONNX file on the CPU, as it is written: what can be measured of a TensorRT model without a GPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.tensorrt.companions import check_companions
from edgeport.targets.tensorrt.proof import Builds
from edgeport.targets.values import dtype_of, spec_of
from edgeport.validate.onnx_runner import OnnxRunner
from edgeport.validate.runner import Verdict
from edgeport.validate.second import SecondRun


@dataclass
class OnnxFileRunner:
    """A `Runner` over an emitted file: ONNX Runtime without any rewriting, since some of it is wrong for Q/DQ files.

    Args:
        path: the file.
        graph: the canonical graph it was lowered from; gives names, shapes and dtypes.
        companions: float files beside it, which are checked on the first sample.
        builds: of which files an engine can be built.
    """

    path: Path
    graph: ir.Model
    companions: tuple[Path, ...] = ()
    builds: Builds | None = None
    _seen: tuple[Finding, ...] | None = field(default=None, init=False)

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
        """The arithmetic of the file was checked on a CPU; no engine ran."""
        return "checked-not-run"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """What the first sample showed about its companions, and of what NVIDIA's builder makes no engine."""
        return (*(self._seen or ()), *(self.builds.findings if self.builds is not None else ()))

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            CalibrationError: the sample does not fit the model's inputs.
            ModelError: the file or a companion is damaged, or belongs to another model.
        """
        if self._seen is None:
            self._seen = tuple(check_companions(self.companions, self.graph, sample))
        found = self._session.run(sample)
        missing = [name for name in self.outputs if name not in found]
        if missing:
            raise ModelError(
                f"{self.path.name} has no output {missing[0]!r}; give the model it was made from as the source"
            )
        return {v.name or "": found[v.name or ""].astype(dtype_of(v), copy=False) for v in self.graph.graph.outputs}

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name; names that the file does not have are left out."""
        values = {v.name or "": v for node in self.graph.graph for v in node.outputs}
        found = self._session.intermediates(sample, [name for name in names if name in values])
        return {name: array.astype(dtype_of(values[name]), copy=False) for name, array in found.items()}

    @functools.cached_property
    def _session(self) -> OnnxRunner:
        return OnnxRunner(self.path, optimize=False)


@dataclass(frozen=True)
class TwinRunner:
    """A `SecondRunner` over the file for strongly typed networks that stands beside an artifact.

    Args:
        first: the twin, as the artifact itself is run.
        name: what the report calls it.
        samples: of the held-out ones; float16 is slow on a CPU.
    """

    first: OnnxFileRunner
    name: str = "float16"
    samples: int = 16

    def run_all(self, samples: Sequence[Sample]) -> SecondRun:
        """Runs samples; there are no facts but the file's name."""
        return SecondRun(tuple(self.first.run(sample) for sample in samples), {"file": self.first.path.name})
