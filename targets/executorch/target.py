"""The ExecuTorch target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile
from edgeport.targets.executorch.scheme import PRECISIONS, executorch_scheme
from edgeport.targets.lowering import Refused, finding
from edgeport.targets.values import dtype_of, shape_of
from edgeport.targets.worker_process import WorkerError


@dataclass(frozen=True)
class ExecutorchTarget:
    """ExecuTorch on phones, with XNNPACK's kernels where it has some: one .pte file."""

    name: str = "executorch"
    suffix: str = ".pte"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ()
    toolchain: Mapping[str, str] = field(
        default_factory=lambda: {"torch": "torch==2.13.*", "executorch": "executorch==1.5.1"}
    )

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What XNNPACK's kernels demand at that precision."""
        return executorch_scheme(precision)

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        from edgeport.targets.executorch.forms import in_own_forms
        from edgeport.targets.executorch.lower import objections

        return _open(graph) or objections(in_own_forms(graph, Plan("fp32")))

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.pte`, then loads and runs it once in ExecuTorch's runtime.

        Raises:
            ModelError: a node cannot be lowered, or the runtime does not take the program.
        """
        import numpy as np
        import torch

        from edgeport.targets.executorch import engine
        from edgeport.targets.executorch.forms import in_own_forms
        from edgeport.targets.executorch.lower import lower_graph
        from edgeport.targets.executorch.program import compile_program

        module = lower_graph(in_own_forms(graph, plan))
        zeros = [np.zeros(shape_of(v), dtype_of(v)) for v in graph.graph.inputs]
        program = compile_program(module, tuple(torch.from_numpy(array) for array in zeros))
        path = out / f"{name}{self.suffix}"
        path.write_bytes(program.data)
        try:
            seen = engine.inspect(path)
            engine.run(path, zeros)
        except WorkerError as error:
            path.unlink()
            raise ModelError(f"ExecuTorch's runtime does not run the program: {error}") from error
        facts = {
            "bytes": len(program.data),
            "delegates": program.delegates,
            "undelegated": {op: len(names) for op, names in program.undelegated.items()},
            "inputs": _ends(graph.graph.inputs, seen.inputs),
            "outputs": _ends(graph.graph.outputs, seen.outputs),
        }
        return Artifact(self.name, plan.precision, path, (path,), (), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> object:
        """ExecuTorch's own runtime."""
        from edgeport.targets.executorch.runner import PteRunner

        return PteRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> None:
        """There is none."""


def _open(graph: ir.Model) -> list[Finding]:
    """Inputs of unknown size: a program has one size of each tensor."""
    findings = []
    for value in graph.graph.inputs:
        try:
            shape_of(value)
        except Refused as refused:
            findings.append(finding(refused, None))
    return findings


def _ends(values: object, described: object) -> list[dict[str, object]]:
    return [
        {"name": value.name, "dtype": dtype, "shape": list(shape)}
        for value, (shape, dtype) in zip(values, described, strict=True)  # type: ignore[call-overload]
    ]


EXECUTORCH = ExecutorchTarget()
